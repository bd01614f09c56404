//! Who may speak to a replica, and the calls that replicas make for the node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dstack_raft::tls::Ca;
use dstack_raft::{CallError, NodeId, PeerService};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::lab::{Lab, PATIENCE, leader, put, start};

struct Upper;

#[async_trait]
impl PeerService for Upper {
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, String> {
        if body.is_empty() {
            return Err("nothing to do".to_owned());
        }
        let text = String::from_utf8_lossy(&body).to_uppercase();
        Ok(format!("{from}:{text}").into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_call_each_other_by_service() {
    let lab = Lab::new(&["a", "b", "c"]);
    let replicas = lab.start_all().await;
    leader(&replicas).await;
    let (a, b) = (replicas[0].handle.peers(), replicas[1].handle.peers());
    assert_eq!(a.list().len(), 3);
    b.register("upper", Arc::new(Upper));
    assert_eq!(
        a.call(2, "upper", Bytes::from_static(b"hi"), PATIENCE)
            .await,
        Ok(Bytes::from_static(b"1:HI"))
    );
    assert_eq!(
        b.call(2, "upper", Bytes::from_static(b"me"), PATIENCE)
            .await,
        Ok(Bytes::from_static(b"2:ME"))
    );
    let refused = a.call(2, "upper", Bytes::new(), PATIENCE).await;
    assert_eq!(refused, Err(CallError::Refused("nothing to do".into())));
    let unknown = a.call(2, "lower", Bytes::new(), PATIENCE).await;
    assert!(
        matches!(unknown, Err(CallError::Refused(ref r)) if r.contains("lower")),
        "{unknown:?}"
    );
    let nobody = a.call(77, "upper", Bytes::new(), PATIENCE).await;
    assert!(
        matches!(nobody, Err(CallError::Unreachable(_))),
        "{nobody:?}"
    );
    let large = Bytes::from(vec![b'x'; 10 * 1024 * 1024]);
    assert_eq!(
        a.call(2, "upper", large.clone(), PATIENCE)
            .await
            .unwrap()
            .len(),
        large.len() + 2
    );
    replicas[1].handle.shutdown().await;
    let gone = a
        .call(
            2,
            "upper",
            Bytes::from_static(b"hi"),
            Duration::from_secs(5),
        )
        .await;
    assert!(
        matches!(gone, Err(CallError::Unreachable(_) | CallError::TimedOut)),
        "{gone:?}"
    );
}

/// Reads until the replica closes the connection; what came before that.
async fn closed(mut stream: TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut got))
        .await
        .expect("the replica hung up");
    // A reset is as good as an end.
    let _ = read;
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_on_the_peer_port_is_refused() {
    let lab = Lab::new(&["a"]);
    let replica = start(lab.alone("a")).await.unwrap();
    let mut plain = TcpStream::connect(lab.members[0].1).await.unwrap();
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    // At most a TLS alert comes back (record type 21), never a word of HTTP.
    let got = closed(plain).await;
    assert!(got.is_empty() || got[0] == 21, "{got:?}");
    assert!(replica.handle.status().is_ok());
}

/// A replica of another authority, however it names itself, is not heard and not believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_another_authority_is_refused_both_ways() {
    let lab = Lab::new(&["a", "b"]);
    let ours = start(lab.alone("a")).await.unwrap();
    put(std::slice::from_ref(&ours), "k=v").await;
    let mut foreign = lab.alone("b");
    foreign.tls = Ca::create("lab").unwrap().issue("b", &[]).unwrap();
    let theirs = start(foreign).await.unwrap();
    put(std::slice::from_ref(&theirs), "k=w").await;
    let id = ours
        .handle
        .add_learner("b", &lab.members[1].1.to_string())
        .await
        .unwrap();
    let call = ours
        .handle
        .peers()
        .call(id, "upper", Bytes::new(), PATIENCE)
        .await;
    assert!(matches!(call, Err(CallError::Unreachable(_))), "{call:?}");
    assert_eq!(theirs.echo.memory().map[&b"k"[..]], "w");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_another_cluster_is_refused_with_both_ids() {
    let lab = Lab::new(&["a", "b"]);
    let a = start(lab.alone("a")).await.unwrap();
    let b = start(lab.alone("b")).await.unwrap();
    put(std::slice::from_ref(&a), "k=v").await;
    let theirs = put(std::slice::from_ref(&b), "k=w").await;
    // The same authority, so the handshake succeeds; the cluster ids differ.
    let id = a
        .handle
        .add_learner("b", &lab.members[1].1.to_string())
        .await
        .unwrap();
    let call = a
        .handle
        .peers()
        .call(id, "upper", Bytes::new(), PATIENCE)
        .await;
    let Err(CallError::Refused(reason)) = call else {
        panic!("{call:?}")
    };
    assert!(
        reason.contains(&a.handle.cluster_id()) && reason.contains(&b.handle.cluster_id()),
        "{reason}"
    );
    // The leader of the other cluster has kept sending to it; nothing of that arrived.
    assert_eq!(b.echo.memory().applied, theirs.index);
    assert_eq!(b.handle.peers().list().len(), 1);
}

/// Hands connections on while it is open; what a chaos proxy does.
async fn proxy(
    to: SocketAddr,
    passed: Arc<AtomicUsize>,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        // Dropping the set with the task cuts every connection that goes through here.
        let mut links = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            passed.fetch_add(1, Ordering::Relaxed);
            links.spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (at, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_link_can_be_led_through_a_proxy() {
    let lab = Lab::new(&["a", "b"]);
    let passed = Arc::new(AtomicUsize::new(0));
    let (at, proxy) = proxy(lab.members[1].1, passed.clone()).await;
    let mut options = lab.options("a");
    options.dial.insert("b".to_owned(), at.to_string());
    let (a, b) = tokio::join!(start(options), start(lab.options("b")));
    let replicas = [a.unwrap(), b.unwrap()];
    put(&replicas, "k=v").await;
    replicas[1]
        .handle
        .peers()
        .register("upper", Arc::new(Upper));
    let peers = replicas[0].handle.peers();
    let call = peers
        .call(2, "upper", Bytes::from_static(b"hi"), PATIENCE)
        .await;
    assert_eq!(call, Ok(Bytes::from_static(b"1:HI")));
    assert!(passed.load(Ordering::Relaxed) > 0);
    proxy.abort();
    let _ = proxy.await;
    let cut = peers
        .call(
            2,
            "upper",
            Bytes::from_static(b"hi"),
            Duration::from_secs(5),
        )
        .await;
    assert!(
        matches!(cut, Err(CallError::Unreachable(_) | CallError::TimedOut)),
        "{cut:?}"
    );
}
