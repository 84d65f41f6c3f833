//! Files and runs are of the same workspaces. What the files' routes promise in detail is in `tests/files`.

use serde_json::json;

use crate::client::prompt;
use crate::fixture::{start, with_cli};
use crate::support::TestBox;

#[test]
fn a_run_works_on_what_was_uploaded_and_its_files_can_be_fetched() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch.env("CLAUDEBOX_MODE_API_MAX_UPLOAD_MB", "1"));
    let http = &api.http;
    let put = |path: &str, body: &str| http.ask("PUT", path).body(body);
    let written = put("/files/a/in/my%20file", "from outside").send();
    let tag = written.header("etag").to_owned();
    assert!(written.json(200)["path"].as_str().unwrap().ends_with("/a/in/my file"), "{}", written.text());
    let result = http.run(prompt("a", "offline:tool tr a-z A-Z <'in/my file' >out.txt; stat -c %U out.txt"));
    assert_eq!(result["status"], "completed", "{result}");

    let fetched = http.get("/files/a/out.txt").send();
    assert_eq!((fetched.status, fetched.text().as_str()), (200, "FROM OUTSIDE"));
    assert!(fetched.header("content-type").starts_with("text/plain"));
    let part = http.get("/files/a/out.txt").header("range", "bytes=5-").send();
    assert_eq!((part.status, part.text().as_str()), (206, "OUTSIDE"));
    assert_eq!(part.header("content-range"), "bytes 5-11/12");
    http.get("/files/a/out.txt").header("range", "bytes=99-").send().problem(416, "range_not_satisfiable");
    let saved = http.get("/files/a/out.txt?download").send();
    assert!(saved.header("content-disposition").starts_with("attachment"));
    let known = http.get("/files/a/out.txt").header("if-none-match", fetched.header("etag")).open();
    assert_eq!(known.status, 304);

    assert_eq!(put("/files/a/in/my%20file", "changed").header("if-match", &tag).send().status, 200);
    put("/files/a/in/my%20file", "lost").header("if-match", &tag).send().problem(412, "precondition_failed");
    put("/files/a/big", &"x".repeat((1 << 20) + 1)).send().problem(413, "too_large");
    put("/files/a/in", "x").send().problem(409, "is_a_folder");
    assert_eq!(http.get("/files/a/in/my%20file").send().text(), "changed");

    let listing = |path: &str| {
        let listing = http.get(path).send().json(200);
        let entries = listing["entries"].as_array().unwrap_or_else(|| panic!("{listing}")).clone();
        entries.iter().map(|entry| (entry["name"].clone(), entry["type"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(listing("/files"), [(json!("a"), json!("dir"))]);
    assert_eq!(listing("/files/a"), [(json!("in"), json!("dir")), (json!("out.txt"), json!("file"))]);
    http.delete("/files/a/in").send().problem(409, "is_a_folder");
    assert_eq!(http.delete("/files/a/in?recursive=true").send().json(200)["status"], "ok");
    http.delete("/files/a/in").send().problem(404, "not_found");
    http.delete("/files?recursive=true").send().problem(405, "method_not_allowed");
    http.delete("/files/?recursive=true").send().problem(405, "method_not_allowed");
    assert!(testbox.path("workspaces/a/out.txt").exists());
    api.stop();
}
