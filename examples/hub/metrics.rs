//! `GET /metrics` for Prometheus, and nothing else of HTTP.

use std::{io, sync::Arc, time::Duration};

use prometheus_client::{encoding::text, registry::Registry};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time,
};

/// Binds the address and answers in a task of its own.
pub(crate) async fn serve(address: &str, registry: Registry) -> io::Result<()> {
    let socket = TcpListener::bind(address).await?;
    println!("metrics at http://{}/metrics", socket.local_addr()?);
    tokio::spawn(answer_all(socket, Arc::new(registry)));
    Ok(())
}

/// Each request has five seconds. After an error of `accept`, such as too many open files, it tries again a second later.
async fn answer_all(socket: TcpListener, registry: Arc<Registry>) {
    loop {
        let Ok((stream, _)) = socket.accept().await else {
            time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let registry = Arc::clone(&registry);
        tokio::spawn(time::timeout(Duration::from_secs(5), async move {
            let _ = answer(stream, &registry).await;
        }));
    }
}

/// Reads one request and answers it.
async fn answer(mut stream: TcpStream, registry: &Registry) -> io::Result<()> {
    let mut lines = BufReader::new((&mut stream).take(8192)).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    while lines
        .next_line()
        .await?
        .is_some_and(|line| !line.is_empty())
    {}
    let mut body = String::new();
    let status = match request.starts_with("GET /metrics ") {
        true => text::encode(&mut body, registry)
            .map(|()| "200 OK")
            .map_err(io::Error::other)?,
        false => "404 Not Found",
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await
}
