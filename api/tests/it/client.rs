//! The client against servers of a few lines: failing over, keeping a request's id, reading refusals.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dstack_api::client::{ApiError, Client, ClientOptions};
use dstack_api::http::errors::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What one fake replica does with each request, and what it was sent.
struct Replica {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

type Behaviour = fn(usize) -> Option<(u16, &'static str)>;

/// Answers by the number of the request; `None` closes the connection without a word.
async fn replica(behaviour: Behaviour) -> Replica {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let request = read_request(&mut socket).await;
            let number = {
                let mut log = log.lock().unwrap();
                log.push(request);
                log.len() - 1
            };
            if let Some((status, body)) = behaviour(number) {
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = socket.write_all(head.as_bytes()).await;
            }
        }
    });
    Replica { url, seen }
}

async fn read_request(socket: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = socket.read(&mut piece).await.unwrap_or(0);
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = header(&text, "content-length")
                .and_then(|value| value.parse().ok())
                .unwrap_or(0);
            if read == 0 || bytes.len() >= end + 4 + length {
                return text;
            }
        } else if read == 0 {
            return text;
        }
    }
}

fn header(request: &str, name: &str) -> Option<String> {
    let lines = request.lines().take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.to_owned())
}

fn client(urls: &[&str]) -> Client {
    let options = ClientOptions {
        patience: Duration::from_secs(5),
        ..ClientOptions::new(urls.iter().copied(), Some("secret-token".to_owned()))
    };
    Client::new(options).unwrap()
}

const SECRET: &str = r#"{"id":"7ac704bf-c45a-4bcb-b1f6-7965416f01aa","name":"a","value":"b"}"#;

#[tokio::test]
async fn a_write_keeps_its_id_over_dropped_connections_and_replicas() {
    let dropping = replica(|_| None).await;
    let electing = replica(|number| {
        if number == 0 {
            Some((503, "{}"))
        } else {
            Some((200, SECRET))
        }
    })
    .await;
    let client = client(&[&dropping.url, &electing.url]);
    let secret = client.project("main").set_secret("a", "b").await.unwrap();
    assert_eq!(secret.name, "a");
    let (first, second) = (
        dropping.seen.lock().unwrap().clone(),
        electing.seen.lock().unwrap().clone(),
    );
    assert_eq!(second.len(), 2);
    let ids: Vec<_> = first
        .iter()
        .chain(&second)
        .map(|request| header(request, "x-request-id").unwrap())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert!(
        second
            .iter()
            .all(|request| header(request, "authorization").unwrap() == "Bearer secret-token")
    );
    assert!(
        second
            .iter()
            .all(|request| header(request, "x-api-version").unwrap() == "0.22.5")
    );
    assert_eq!(client.url(), electing.url);
}

#[tokio::test]
async fn each_write_has_an_id_of_its_own_and_a_read_has_none() {
    let server = replica(|_| Some((200, SECRET))).await;
    let client = client(&[&server.url]);
    client.project("main").set_secret("a", "b").await.unwrap();
    client.project("main").set_secret("a", "b").await.unwrap();
    client.project("main").get_secret("a").await.unwrap();
    let seen = server.seen.lock().unwrap().clone();
    let ids: Vec<_> = seen
        .iter()
        .map(|request| header(request, "x-request-id"))
        .collect();
    assert!(
        ids[0].is_some() && ids[1].is_some() && ids[0] != ids[1] && ids[2].is_none(),
        "{ids:?}"
    );
}

#[tokio::test]
async fn refusals_are_sorted_by_what_one_can_do() {
    let absent = replica(|_| {
        Some((
            400,
            r#"{"detail":[{"msg":"Run not found","code":"resource_not_exists"}]}"#,
        ))
    })
    .await;
    let error = client(&[&absent.url])
        .project("main")
        .get_run_by_name("t")
        .await
        .unwrap_err();
    assert!(error.is_absent());
    assert_eq!(error.code(), Some(ErrorCode::ResourceNotExists));
    assert_eq!(error.to_string(), "Run not found");

    let denied =
        replica(|_| Some((403, r#"{"detail":{"msg":"Invalid token","code":null}}"#))).await;
    let error = client(&[&denied.url]).my_user().await.unwrap_err();
    assert!(matches!(&error, ApiError::Denied { message, .. } if message == "Invalid token"));
    assert!(!error.to_string().contains("secret-token"));

    let malformed = replica(|_| {
        Some((
            422,
            r#"{"detail":[{"type":"missing","loc":["body","abort"],"msg":"Field required"}]}"#,
        ))
    })
    .await;
    let error = client(&[&malformed.url])
        .project("main")
        .stop_runs(vec![], false)
        .await
        .unwrap_err();
    assert!(
        error.to_string().ends_with("abort: Field required"),
        "{error}"
    );

    let page = replica(|_| Some((200, "<html>"))).await;
    let error = client(&[&page.url]).my_user().await.unwrap_err();
    assert!(matches!(error, ApiError::Unreadable { .. }));
}

#[tokio::test]
async fn nobody_there_is_said_with_each_address_and_reason() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{gone}");
    let options = ClientOptions {
        patience: Duration::from_millis(200),
        ..ClientOptions::new([url.clone()], None)
    };
    let error = Client::new(options).unwrap().my_user().await.unwrap_err();
    let ApiError::Unavailable { tried } = &error else {
        panic!("{error}")
    };
    assert_eq!(tried[0].0, url);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn a_url_that_is_none_is_refused_at_once() {
    for url in ["localhost:3000", "ftp://x", "", "http://"] {
        let result = Client::new(ClientOptions::new([url], None));
        assert!(matches!(result, Err(ApiError::BadUrl { .. })), "{url}");
    }
    assert!(Client::new(ClientOptions::new(["http://localhost:3000/"], None)).is_ok());
}
