//! A blocking HTTP/1.1 client of one connection. It never sends anything twice, as libraries do when a kept connection
//! turns out to be closed: a repeated write would look like one that the program applied twice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A kept connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(crate) enum Lost {
    /// Not one byte of it came.
    Before(String),
    /// It was cut.
    Amid(String),
}

impl Response {
    /// A header's value; `name` in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The bytes of a request; with a body it is JSON.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: dos\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        text += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    format!("{text}\r\n{body}").into_bytes()
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a request and reads its answer.
    pub(crate) fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response, Lost> {
        self.send(&request(method, path, headers, body)).map_err(|error| Lost::Before(error.to_string()))?;
        self.receive()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer, also an interim one [RFC 9110 15.2].
    pub(crate) fn receive(&mut self) -> Result<Response, Lost> {
        match self.stream.fill_buf() {
            Ok([]) => return Err(Lost::Before("the connection was closed".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(Lost::Before(error.to_string())),
        }
        self.answer().map_err(|error| Lost::Amid(error.to_string()))
    }

    /// Whether the server has closed the connection in good order.
    pub(crate) fn is_at_end(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok([]))
    }

    fn answer(&mut self) -> std::io::Result<Response> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| broken(&status))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        if status >= 200 && status != 204 && status != 304 {
            let length = response.header("content-length").and_then(|length| length.parse().ok());
            response.body = vec![0; length.ok_or_else(|| broken("no content-length"))?];
            self.stream.read_exact(&mut response.body)?;
        }
        Ok(response)
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok(line.to_owned())
    }
}

fn broken(what: &str) -> std::io::Error {
    std::io::Error::other(format!("this is no HTTP answer: {what}"))
}
