//! The committed description is the one that the program gives.

use crate::harness::{Api, matrix, root};

matrix! { both_forms_are_served_and_alike }

#[tokio::test]
async fn the_committed_description_is_current() {
    let committed = std::fs::read_to_string(root().join("docs/api/api-gateway.openapi.yml")).unwrap();
    let registry = dos::settings::registry(None).unwrap();
    let document = gateway::openapi(&registry, "", gateway::API_VERSION);
    let advice = "it is stale; run: cargo run -- openapi > docs/api/api-gateway.openapi.yml";
    assert!(committed == gateway::to_yaml(&document), "{advice}");
}

async fn both_forms_are_served_and_alike(api: Api) {
    let json = api.get("/openapi.json").await;
    assert_eq!(json.expect(200).json["openapi"].as_str().unwrap().split('.').take(2).collect::<Vec<_>>(), ["3", "1"]);
    let yaml = api.get("/openapi.yaml").await;
    assert_eq!(yaml.expect(200).header("content-type"), Some("application/yaml"));
    assert_eq!(gateway::to_yaml(&json.json), yaml.text);
}
