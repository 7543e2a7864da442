"use strict";

// Starts the reference. The document comes from the gateway that served this page, and "try it" goes back to it: whatever
// name or path prefix the reader came by (the document's own server is where other programs find the gateway).
(async () => {
  const prefix = location.pathname.replace(/\/docs\/?$/, "");
  const place = document.getElementById("reference");

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", theme);
  theme();

  try {
    const response = await fetch(`${prefix}/openapi.json`, { headers: { accept: "application/json" } });
    if (!response.ok) throw new Error(`/openapi.json was answered ${response.status}`);
    const spec = await response.json();
    spec.servers = [{ url: prefix || "/", description: `This gateway, ${location.origin}` }];
    document.title = `${spec.info.title} ${spec.info.version}: API reference`;
    window.ui = SwaggerUIBundle({
      spec,
      domNode: place,
      deepLinking: true,
      displayRequestDuration: true,
      docExpansion: "none",
      defaultModelsExpandDepth: 0,
      defaultModelExpandDepth: 3,
      defaultModelRendering: "example",
      filter: true,
      tryItOutEnabled: true,
      validatorUrl: null,
      supportedSubmitMethods: ["get", "head", "post", "put", "options"],
    });
  } catch (error) {
    const notice = document.createElement("p");
    notice.className = "notice";
    notice.textContent = `The reference could not be loaded: ${error.message}. Load the page again, or read ${prefix}/openapi.yaml.`;
    place.replaceChildren(notice);
    console.error(error);
  }
})();
