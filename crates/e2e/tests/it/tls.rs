//! The API over TCP: only who has a certificate of the right authority gets in.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use e2e::{Client, Host, HostOptions, Program, Ran};

/// An authority, the certificates it gave to a server and a client, and a stranger's of the same
/// names.
const MAKE: &str = r#"set -e
cd "$1"
for who in ours theirs; do
  mkdir $who
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$who" \
    -addext basicConstraints=critical,CA:TRUE -keyout $who/ca-key.pem -out $who/ca.pem
  for name in server client; do
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout $who/$name-key.pem -out $who/$name.csr
    printf 'extendedKeyUsage=%sAuth\nsubjectAltName=IP:127.0.0.1\n' $name >$who/ext
    openssl x509 -req -days 2 -in $who/$name.csr -CA $who/ca.pem -CAkey $who/ca-key.pem \
      -CAcreateserial -extfile $who/ext -out $who/$name.pem
  done
  cp $who/client.pem $who/cert.pem
  cp $who/client-key.pem $who/key.pem
done
mkdir stranger
cp ours/ca.pem stranger/
cp theirs/cert.pem theirs/key.pem stranger/
"#;

#[test]
fn only_certificates_of_the_authority_get_in() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let certificates = tempfile::tempdir()?;
    let dir = certificates.path();
    let made = Command::new("sh").args(["-c", MAKE, "sh"]).arg(dir).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("tcp://127.0.0.1:{port}");
    let file = |name: &str| dir.join("ours").join(name).display().to_string();
    let flags = ["-H", &address, "--tlsverify"].map(str::to_owned).to_vec();
    let files =
        [("--tlscacert", "ca.pem"), ("--tlscert", "server.pem"), ("--tlskey", "server-key.pem")];
    let files = files.into_iter().flat_map(|(flag, name)| [flag.to_owned(), file(name)]);
    let flags = flags.into_iter().chain(files).collect();
    let host = Host::start_with(HostOptions { flags, ..HostOptions::default() })?;
    host.load_busybox()?;
    for program in [Program::Teu, Program::Docker] {
        let client = host.client_at(program, &address);
        let secured = |name: &str| with_certificates(&client, &dir.join(name));
        let ours = secured("ours");
        let told = ours.run(&["version", "--format", "{{.Server.Os}}"])?;
        ensure!(told == "linux\n", "{told}");
        // Streams in both directions, and the half close at the input's end.
        let ran = ours
            .try_run_with_input(&["run", "-i", "--rm", "busybox", "wc", "-c"], &[b'x'; 70_000])?;
        ensure!(ran.stdout.trim() == "70000", "{ran:?}");
        let mut pty =
            ours.terminal(&["run", "-it", "--rm", "busybox", "sh", "-c", "tty; read x; exit 7"])?;
        pty.expect("/dev/pts/0", e2e::DEADLINE)?;
        pty.send_line("")?;
        ensure!(pty.finish(e2e::DEADLINE)?.0.code() == Some(7));
        let refused = |ran: Ran, words: &[&str]| {
            let told = words.iter().any(|word| ran.stderr.contains(word));
            ensure!(ran.code != 0 && told, "{program:?}: {ran:?}");
            Ok(())
        };
        // A certificate of another authority: the server does not take it.
        refused(
            secured("stranger").try_run(&["ps"])?,
            &["certificate", "alert", "reset", "closed"],
        )?;
        // The client does not take a server of another authority.
        refused(secured("theirs").try_run(&["ps"])?, &["certificate", "UnknownIssuer"])?;
        // Nor is there anything for those who speak no TLS.
        refused(client.try_run(&["ps"])?, &["HTTP", "http", "connect"])?;
    }
    ensure!(host.teu().run(&["ps", "-aq"])?.is_empty());
    Ok(())
}

fn with_certificates(client: &Client, dir: &Path) -> Client {
    let dir = dir.display().to_string();
    client.clone().with_env("DOCKER_TLS_VERIFY", "1").with_env("DOCKER_CERT_PATH", &dir)
}
