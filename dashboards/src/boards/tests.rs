//! Boards of a folder and of the program: what is listed, what is served, what is wrong with a file.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use model::event::Actor;
use model::tenant::TenantId;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

async fn ask(router: &Router, path: &str, permission: Permission) -> (u16, Value) {
    let mut request = Request::get(format!("/api/watchfire/v1/dashboards{path}")).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Principal {
        tenant: TenantId::default(),
        permissions: vec![permission],
        actor: Actor::User { id: "ana".into() },
        keyless: false,
    });
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 24).await.unwrap()).unwrap())
}

#[test]
fn those_that_come_with_the_program_are_boards() {
    for (name, text) in BUILT_IN {
        let board = Board::parse(text).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert!(board.panels.len() >= 6 && !board.description.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_saved_file_shows_at_the_next_look_and_a_wrong_one_says_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("boards")).unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join("boards").join(name), text).unwrap();
    let router = router(&Config { folder: Some("boards".into()), edit_rules: false }, folder.path());
    let (_, before) = ask(&router, "", Permission::Read).await;
    assert_eq!(before["dashboards"].as_array().unwrap().len(), BUILT_IN.len());

    put("shop.yaml", "title: Shop\npanels:\n- title: Orders\n  queries: [{ expr: 'sum(rate(orders_total[5m]))' }]\n");
    put("wrong.yaml", "title: Wrong\npanels:\n- titel: x\n");
    put("empty.yaml", "title: Empty\npanels: [{ title: nothing }]\n");
    put("wide.yaml", "title: W\npanels: [{ width: 13, queries: [{ expr: up }] }]\n");
    put("services.yaml", "title: Mine\npanels: [{ kind: text, text: '# Hi' }]\n");
    put("node.json", r#"{"dashboard": {"title": "Node", "panels": [{"type": "graph"}]}}"#);
    put("other.json", "{}");
    put("notes.txt", "no board");
    let (_, listed) = ask(&router, "", Permission::Read).await;
    let said = |name: &str| {
        let found = listed["dashboards"].as_array().unwrap().iter().filter(|one| one["name"] == name).collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "{name} in {listed}");
        (found[0]["title"].as_str().unwrap().to_owned(), found[0]["error"].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(said("shop"), ("Shop".to_owned(), String::new()));
    assert_eq!(said("services").0, "Mine", "a file hides the one that comes with the program");
    assert_eq!(said("node").0, "Node");
    assert!(said("wrong").1.contains("titel") && said("wrong").1.contains("line 3"), "{}", said("wrong").1);
    assert!(said("empty").1.contains("asks nothing"));
    assert!(said("wide").1.contains("use 1 to 12"));
    assert!(said("other").1.contains("no list `panels`"));

    let (status, shop) = ask(&router, "/shop", Permission::Read).await;
    assert_eq!((status, shop["dashboard"]["panels"][0]["kind"].as_str()), (200, Some("lines")));
    assert_eq!(ask(&router, "/node", Permission::Read).await.1["grafana"]["title"], "Node");
    assert_eq!(ask(&router, "/wrong", Permission::Read).await.0, 422);
    assert_eq!(ask(&router, "/..%2Fsecret", Permission::Read).await.0, 404);
    assert_eq!(ask(&router, "/nobody", Permission::Read).await.0, 404);
    assert_eq!(ask(&router, "/shop", Permission::Ingest).await.0, 403);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let router = router(&Config { folder: Some("/no/such/folder".into()), edit_rules: false }, Path::new(""));
    let (status, said) = ask(&router, "", Permission::Read).await;
    assert!(status == 503 && said["error"].as_str().unwrap().contains("dashboards.folder: /no/such/folder cannot be read"), "{said}");
}
