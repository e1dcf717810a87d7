//! `attach/ws`: a container's streams as messages, for browsers and docker-py.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail, ensure};
use e2e::{DEADLINE, Program};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use crate::{World, with};

/// Opens a websocket on container `cc`.
fn open(world: &World, path: &str) -> Result<WebSocket<UnixStream>> {
    open_from(world, path, None)
}

/// The same from a page of `origin`.
fn open_from(world: &World, path: &str, origin: Option<&str>) -> Result<WebSocket<UnixStream>> {
    let stream = UnixStream::connect(world.host.socket())?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut request = format!("ws://localhost{path}").into_client_request()?;
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse()?);
    }
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
            let said = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            bail!("{} {said}", answer.status())
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads messages until their bytes contain all that is wanted, in any order.
fn read_until(socket: &mut WebSocket<UnixStream>, wanted: &[&str]) -> Result<String> {
    let mut seen = String::new();
    while !wanted.iter().all(|wanted| seen.contains(wanted)) {
        match socket.read().with_context(|| format!("waiting for {wanted:?}, got {seen:?}"))? {
            Message::Binary(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            Message::Close(_) => bail!("closed before {wanted:?}, after {seen:?}"),
            other => bail!("{other:?} instead of a binary message"),
        }
    }
    Ok(seen)
}

/// Reads to the closing handshake.
fn read_all(socket: &mut WebSocket<UnixStream>) -> Result<String> {
    let mut seen = String::new();
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            Ok(Message::Text(text)) => seen.push_str(&format!("text:{text}")),
            Ok(Message::Close(_)) => {}
            Ok(other) => bail!("{other:?} instead of output"),
            Err(tungstenite::Error::ConnectionClosed) => return Ok(seen),
            Err(error) => return Err(error.into()),
        }
    }
}

const ALL: &str = "stream=1&stdin=1&stdout=1&stderr=1";

#[test]
fn messages_are_input_and_output() -> Result<()> {
    with(Program::Teu, |world| {
        world.client.run(&["create", "-i", "--name", "cc", "busybox", "cat"])?;
        world.client.run(&["start", "cc"])?;
        let mut socket = open(world, &format!("/v1.51/containers/cc/attach/ws?{ALL}"))?;
        socket.send(Message::text("by text\n"))?;
        ensure!(read_until(&mut socket, &["\n"])? == "by text\n");
        socket.send(Message::binary(&b"by bytes\n"[..]))?;
        ensure!(read_until(&mut socket, &["\n"])? == "by bytes\n");
        // Closing ends the input, and that ends cat.
        socket.close(None)?;
        let _ = read_all(&mut socket);
        ensure!(world.client.run(&["wait", "cc"])? == "0\n");
        // The past, with the clients' own streams chosen: it ends where the log does.
        let mut past = open(world, "/containers/cc/attach/ws?logs=1&stdout=1")?;
        ensure!(read_all(&mut past)? == "by text\nby bytes\n");
        Ok(())
    })
}

/// A frame of a client: masked, as the protocol wants of clients, with a mask that changes nothing.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short payload");
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// Reads the frame that the server sends next: its first byte and its payload.
fn frame(stream: &mut UnixStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    ensure!(head[1] < 126, "a long or masked frame: {head:?}");
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload)?;
    Ok((head[0], payload))
}

const CLOSE: u8 = 0x8;
/// 1000, a normal end, as the payload of a closing frame has it.
const NORMAL: [u8; 2] = [0x03, 0xe8];

#[test]
fn whoever_closes_is_answered_before_the_connection_ends() -> Result<()> {
    with(Program::Teu, |world| {
        // The client closes: its own code comes back, then nothing, and the input has ended.
        world.client.run(&["create", "-i", "--name", "cc", "busybox", "cat"])?;
        world.client.run(&["start", "cc"])?;
        let path = format!("/containers/cc/attach/ws?{ALL}");
        let mut socket = open(world, &path)?;
        let stream = socket.get_mut();
        stream.write_all(&masked(0x2, b"said\n"))?;
        ensure!(frame(stream)? == (0x82, b"said\n".to_vec()));
        stream.write_all(&masked(CLOSE, &NORMAL))?;
        let answer = frame(stream)?;
        ensure!(answer == (0x80 | CLOSE, NORMAL.to_vec()), "{answer:?}");
        ensure!(stream.read(&mut [0])? == 0, "something follows the closing frame");
        ensure!(world.client.run(&["wait", "cc"])? == "0\n");

        // The container ends: all it said comes first, then the server's closing frame, and the
        // connection stays until the client has answered that.
        world.client.run(&["start", "cc"])?;
        let mut socket = open(world, &path)?;
        let stream = socket.get_mut();
        stream.write_all(&masked(0x2, b"last words\n"))?;
        ensure!(frame(stream)? == (0x82, b"last words\n".to_vec()));
        world.client.run(&["kill", "cc"])?;
        let (first, payload) = frame(stream)?;
        ensure!(first == 0x80 | CLOSE, "{first:#x} {payload:?}");
        stream.write_all(&masked(CLOSE, &payload))?;
        ensure!(stream.read(&mut [0])? == 0, "something follows the closing frame");

        // A client that does not answer does not hold the connection for ever.
        world.client.run(&["start", "cc"])?;
        let mut socket = open(world, &path)?;
        let stream = socket.get_mut();
        world.client.run(&["kill", "cc"])?;
        ensure!(frame(stream)?.0 == 0x80 | CLOSE);
        ensure!(stream.read(&mut [0])? == 0, "something follows the closing frame");
        Ok(())
    })
}

#[test]
fn output_and_errors_share_the_messages_without_frames() -> Result<()> {
    with(Program::Teu, |world| {
        let script = "while read line; do echo out; echo err >&2; done";
        world.client.run(&["run", "-di", "--name", "cc", "busybox", "sh", "-c", script])?;
        let mut both = open(world, &format!("/containers/cc/attach/ws?{ALL}"))?;
        let mut errors = open(world, "/containers/cc/attach/ws?stream=1&stderr=1")?;
        // From before clients could choose: all streams whatever they say, as texts.
        let mut old = open(world, "/v1.24/containers/cc/attach/ws?stream=1&stderr=0")?;
        both.send(Message::text("x\n"))?;
        let seen = read_until(&mut both, &["out\n", "err\n"])?;
        ensure!(seen.len() == 8, "{seen:?}");
        ensure!(read_until(&mut errors, &["\n"])? == "err\n");
        // More than a message may hold costs the sender its connection, and nobody else anything.
        let bomb = both.send(Message::binary(vec![b'x'; 8 << 20]));
        ensure!(bomb.is_err() || read_until(&mut both, &["never"]).is_err());
        world.client.run(&["rm", "-f", "cc"])?;
        ensure!(read_all(&mut errors)?.is_empty());
        let texts = read_all(&mut old)?;
        ensure!(texts.contains("text:") && texts.contains("out\n"), "{texts:?}");
        ensure!(texts.contains("err\n"), "{texts:?}");
        Ok(())
    })
}

#[test]
fn detach_keys_end_the_websocket_and_not_the_container() -> Result<()> {
    with(Program::Teu, |world| {
        world.client.run(&["run", "-dit", "--name", "cc", "busybox", "sh"])?;
        let path = format!("/containers/cc/attach/ws?{ALL}&detachKeys=ctrl-a,x");
        let mut socket = open(world, &path)?;
        socket.send(Message::text("echo to''gether\r"))?;
        read_until(&mut socket, &["together"])?;
        socket.send(Message::binary(&b"\x01x"[..]))?;
        read_all(&mut socket)?;
        let running = world.client.run(&["inspect", "-f", "{{.State.Running}}", "cc"])?;
        ensure!(running == "true\n");
        Ok(())
    })
}

#[test]
fn websockets_are_refused_with_words() -> Result<()> {
    with(Program::Teu, |world| {
        world.client.run(&["run", "-di", "--name", "cc", "busybox", "cat"])?;
        let refused = |path: &str, origin: Option<&str>| -> Result<String> {
            match open_from(world, path, origin) {
                Ok(_) => bail!("{path} from {origin:?} was not refused"),
                Err(error) => Ok(format!("{error:#}")),
            }
        };
        let said = refused("/containers/nosuch/attach/ws?stream=1", None)?;
        ensure!(said.contains("404") && said.contains("No such container: nosuch"), "{said}");
        let path = format!("/containers/cc/attach/ws?{ALL}");
        let said = refused(&path, Some("http://evil.example"))?;
        ensure!(said.contains("403") && said.contains("evil.example"), "{said}");
        drop(open_from(world, &path, Some("http://localhost"))?);
        let said = refused(&format!("{path}&detachKeys=ctrl-%3F"), None)?;
        ensure!(said.contains("400"), "{said}");
        let plain = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let said = e2e::http::raw_unix(&world.host.socket(), plain.as_bytes())?;
        let said = String::from_utf8_lossy(&said);
        ensure!(said.contains(" 400 ") && said.contains("opening handshake"), "{said}");
        Ok(())
    })
}
