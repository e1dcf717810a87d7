//! The reference walkthrough, with our command line and with the stock one.

use anyhow::{Result, ensure};
use e2e::{Host, Program, Walkthrough, base_image, is_root};

fn walk(program: Program) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let host = Host::start()?;
    base_image(&host.teu())?;
    let walkthrough = Walkthrough::new(host.client(program))?;
    walkthrough.make_image()?;
    let mut pages = vec![walkthrough.host_page()?, walkthrough.bridge_page()?];
    pages.extend(walkthrough.network_pages()?);
    for page in pages {
        ensure!(page.contains("served by nginx in a container"), "the page is {page:?}");
    }
    walkthrough.clean_up()
}

#[test]
fn page_is_served_with_our_client() -> Result<()> {
    walk(Program::Teu)
}

#[test]
fn page_is_served_with_the_docker_client() -> Result<()> {
    walk(Program::Docker)
}
