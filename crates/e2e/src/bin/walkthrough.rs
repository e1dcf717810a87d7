//! The README's first command ends here: the walkthrough on this host's own daemon.

use anyhow::Result;
use e2e::{Client, Walkthrough};

fn main() -> Result<()> {
    let teu = Client::of_this_host();
    println!("{}", teu.run(&["version"])?);
    if teu.try_run(&["image", "inspect", "debian:bookworm"])?.code != 0 {
        println!("Getting debian:bookworm (a registry first, the Debian mirror second) …");
        if teu.try_run(&["pull", "debian:bookworm"])?.code != 0 {
            teu.run(&["bootstrap", "debian:bookworm"])?;
        }
    }
    let walkthrough = Walkthrough::new(teu)?;
    let pages = walk(&walkthrough);
    let cleaned = walkthrough.clean_up();
    for (step, page) in pages? {
        println!("{step}:\n{page}");
    }
    cleaned
}

fn walk(walkthrough: &Walkthrough) -> Result<Vec<(String, String)>> {
    println!("Installing nginx in a container and committing it as mydocker:v4 …");
    walkthrough.make_image()?;
    let port = walkthrough.port();
    println!("Serving it …");
    let mut pages = vec![
        (format!("http://localhost:{port}/ with --net=host"), walkthrough.host_page()?),
        (format!("http://localhost:{port}/ with -p {port}:{port}"), walkthrough.bridge_page()?),
    ];
    let moved = walkthrough.network_pages()?.into_iter();
    pages.extend(moved.map(|page| (format!("port {port} around a move to mynet"), page)));
    Ok(pages)
}
