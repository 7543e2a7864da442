// Uses the API as a program would that knows it from /openapi.json alone: the types are those that openapi-typescript makes of it.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./generated/api.js";

type Service = components["schemas"]["Service"];
type ServiceCreate = components["schemas"]["ServiceCreate"];
type ServiceUpdate = components["schemas"]["ServiceUpdate"];
type Problem = components["schemas"]["Problem"];

/** What the types must refuse; the compiler says so where one of these lines is no error. */
export function mistakes(service: Service): unknown[] {
  // @ts-expect-error: a required field is missing
  const incomplete: ServiceCreate = { name: "n" };
  // @ts-expect-error: there is no such field
  const unknown: ServiceCreate = { name: "n", published: 1, colour: "blue" };
  // @ts-expect-error: a field of another type
  const wrong: ServiceUpdate = { taxonomy_ids: "learning" };
  // @ts-expect-error: not one of the values
  const outside: ServiceUpdate = { published: 2 };
  // @ts-expect-error: it may be null
  const length: number = service.description.length;
  // @ts-expect-error: what is returned has no alias
  const alias: unknown = service.desc;
  return [incomplete, unknown, wrong, outside, length, alias];
}

/** Creates, updates, lists, and runs into a conflict. */
export async function run(baseUrl: string): Promise<void> {
  const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl });
  const wanted: ServiceCreate = { name: "Generated client", published: 1, taxonomy_ids: ["learning", "working"] };

  const created = await client.POST("/service", { body: wanted });
  assert.equal(created.response.status, 201);
  // Else it would be the operation of a write that takes longer.
  assert.ok(created.data && "updated" in created.data);
  const service: Service = created.data;
  assert.deepEqual([service.name, service.taxonomy_ids, service.flagged], [wanted.name, wanted.taxonomy_ids, false]);
  const first = created.response.headers.get("ETag");
  assert.ok(first);

  const path = { id: service.id };
  const changes: ServiceUpdate = { description: "From a description, and no more", published: 0 };
  const updated = await client.PUT("/service/{id}", { params: { path, header: { "If-Match": first } }, body: changes });
  assert.equal(updated.response.status, 200);
  assert.ok(updated.data && "updated" in updated.data);
  assert.deepEqual(updated.data, { ...service, ...changes, updated: updated.data.updated });

  const listed = await client.GET("/service", { params: { query: { name: [wanted.name], sort: "-created", limit: 10 } } });
  assert.equal(listed.response.status, 200);
  const rows: Service[] | undefined = listed.data;
  assert.deepEqual(rows, [updated.data]);
  assert.equal(listed.response.headers.get("X-Total-Count"), "1");

  // Another had the first version too, and comes late.
  const late = await client.PATCH("/service/{id}", {
    params: { path, header: { "If-Match": first } },
    headers: { "Content-Type": "application/merge-patch+json" },
    body: { description: "Too late" },
  });
  assert.equal(late.response.status, 412);
  const problem: Problem | undefined = late.error;
  assert.deepEqual([problem?.type, problem?.retry], ["/problem/precondition-failed", "no"]);
  const kept = await client.GET("/service/{id}", { params: { path } });
  assert.deepEqual(kept.data, updated.data);

  const removed = await client.DELETE("/service/{id}", { params: { path } });
  assert.equal(removed.response.status, 204);
}
