//! The same over real connections, and their ends.

use super::*;

/// A server on a socket, for as long as the returned set lives.
async fn listening<H: Handler>(handler: Arc<H>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        listen(listener, handler, std::future::pending())
            .await
            .unwrap();
    });
    (url, tasks)
}

#[tokio::test]
async fn a_client_pushes_and_pulls_over_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(directory.path(), Access::Writable)
        .await
        .unwrap();
    let (url, _server) = listening(Arc::new(registry)).await;
    let client = reqwest::Client::new();
    let bytes = vec![3; 2_000_000];
    let digest = Digest::sha256(&bytes);
    let post = client.post(format!("{url}/v2/a/blobs/uploads/"));
    let response = post.send().await.unwrap();
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let put = client.put(format!("{url}{location}?digest={digest}"));
    let response = put.body(bytes.clone()).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let blob = format!("{url}/v2/a/blobs/{digest}");
    let head = client.head(&blob).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "2000000");
    let got = client.get(&blob).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), bytes);
    let long = vec![b' '; 5_000_000];
    let put = client.put(format!("{url}/v2/a/manifests/1"));
    assert_eq!(put.body(long).send().await.unwrap().status(), 413);
}

#[tokio::test]
async fn a_handler_can_cut_a_body_and_a_connection() {
    struct Cutting;
    impl Handler for Cutting {
        async fn handle(
            &self,
            request: Request<hyper::body::Incoming>,
        ) -> Result<Response<Body>, BodyError> {
            if request.uri().path() == "/none" {
                return Err("no answer".into());
            }
            let pieces = futures::stream::iter([
                Ok(Frame::data(Bytes::from_static(b"abc"))),
                Err(BodyError::from("cut")),
            ]);
            let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
            let length = header::HeaderValue::from_static("10");
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
            Ok(response)
        }
    }
    let (url, _server) = listening(Arc::new(Cutting)).await;
    assert!(reqwest::get(format!("{url}/none")).await.is_err());
    // Hyper may cut before or after what was already given to it is on the wire.
    if let Ok(response) = reqwest::get(url).await {
        assert!(response.bytes().await.is_err());
    }
}

#[tokio::test]
async fn the_end_waits_for_requests_under_way() {
    struct Slow(tokio::sync::Semaphore, tokio::sync::Semaphore);
    impl Handler for Slow {
        async fn handle(
            &self,
            _: Request<hyper::body::Incoming>,
        ) -> Result<Response<Body>, BodyError> {
            self.0.add_permits(1);
            self.1.acquire().await?.forget();
            Ok(Response::new(body("done")))
        }
    }
    let slow = Arc::new(Slow(
        tokio::sync::Semaphore::new(0),
        tokio::sync::Semaphore::new(0),
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let end = async move {
        drop(stopped.await);
    };
    let server = listen(listener, Arc::clone(&slow), end);
    let client = async {
        let request = async { reqwest::get(&url).await.unwrap().text().await.unwrap() };
        let control = async {
            slow.0.acquire().await.unwrap().forget();
            stop.send(()).unwrap();
            slow.1.add_permits(1);
        };
        tokio::join!(request, control).0
    };
    let (end, answer) = tokio::join!(server, client);
    end.unwrap();
    assert_eq!(answer, "done");
}
