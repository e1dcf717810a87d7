//! Where Dockerfile and files come from, and what `.dockerignore` keeps back.

use anyhow::{Result, ensure};
use e2e::{Program, Ran};

use super::made;
use crate::build::{Files, in_image, nothing_is_left};
use crate::{World, with};

both_clients!(files_come_from_where_they_are_said_to_be, ignored_files_stay_behind);

fn told(ran: Ran) -> Result<String> {
    let told = format!("{}{}", ran.stdout, ran.stderr);
    ran.ok()?;
    Ok(told)
}

fn tar(files: &Files, flags: &str) -> Result<Vec<u8>> {
    let mut command = std::process::Command::new("tar");
    let output = command.arg("-C").arg(files.path()).args([flags, "-", "."]).output()?;
    ensure!(output.status.success(), "tar {flags}");
    Ok(output.stdout)
}

fn files_come_from_where_they_are_said_to_be(world: &World) -> Result<()> {
    let lines = "FROM busybox\nCOPY a /a\n";
    let files = Files::new(
        world,
        "ctx",
        &[
            ("Dockerfile", "FROM none.invalid/x\n"),
            ("a", "1"),
            ("sub/Other.df", lines),
            ("b/a", "2"),
        ],
    )?;
    let outside = Files::new(world, "outside", &[("Far", lines)])?;
    let (dir, far) = (files.path().display().to_string(), outside.path().join("Far"));
    let inner = files.path().join("sub/Other.df").display().to_string();
    let far = far.display().to_string();
    let sub = format!("{dir}/b");
    let expect = |content: &str, args: &[&str], input: &[u8]| -> Result<()> {
        let args = [&["build", "-t", "t"], args].concat();
        told(world.client.try_run_with_input(&args, input)?)?;
        let seen = in_image(world, "t", "cat /a")?;
        ensure!(seen == content, "{args:?}: {seen:?}");
        world.client.run(&["rmi", "t"]).map(drop)
    };
    expect("1", &["-f", &inner, &dir], b"")?;
    expect("1", &["-f", &far, &dir], b"")?;
    expect("2", &["-f", &far, &sub], b"")?;
    expect("1", &["-f", "-", &dir], lines.as_bytes())?;
    expect("text\n", &["-"], b"FROM busybox\nRUN echo text > /a\n")?;
    for flags in ["-cf", "-czf", "-cjf", "-cJf"] {
        expect("1", &["-f", "sub/Other.df", "-"], &tar(&files, flags)?)?;
    }
    for (args, part) in [
        (&["-f", "none", dir.as_str()][..], "none"),
        (&["-f", "-", "-"], "stdin"),
        (&["/does/not/exist"], "not found"),
        (&[far.as_str()], "directory"),
    ] {
        let ran = world.client.try_run(&[&["build"], args].concat())?;
        let told = format!("{}{}", ran.stdout, ran.stderr);
        ensure!(ran.code != 0 && told.contains(part), "{args:?}: {told}");
    }
    nothing_is_left(world)
}

const FILES: [(&str, &str); 10] = [
    ("a.txt", ""),
    ("b.md", ""),
    ("README.md", ""),
    ("dir/a.txt", ""),
    ("dir/b.md", ""),
    ("dir/sub/a.txt", ""),
    (".git/config", ""),
    ("node/x/y", ""),
    ("temp/t", ""),
    ("tempo", ""),
];

/// What is ignored, and which files arrive; Dockerfile and .dockerignore not told.
const IGNORED: [(&str, &str); 12] = [
    ("", ".git/config README.md a.txt b.md dir/a.txt dir/b.md dir/sub/a.txt node/x/y temp/t tempo"),
    ("*.md", ".git/config a.txt dir/a.txt dir/b.md dir/sub/a.txt node/x/y temp/t tempo"),
    ("**/*.md\n.git", "a.txt dir/a.txt dir/sub/a.txt node/x/y temp/t tempo"),
    ("*\n!*.md", "README.md b.md"),
    ("*.md\n!README.md\nnode\n.git\ntemp*", "README.md a.txt dir/a.txt dir/b.md dir/sub/a.txt"),
    ("*.md\n!README.md\nREAD*\nnode\n.git\ntemp*", "a.txt dir/a.txt dir/b.md dir/sub/a.txt"),
    ("*/a*\n*/*/a*\nnode/\n/.git\ntemp?", "README.md a.txt b.md dir/b.md temp/t"),
    ("*\n!dir/sub", "dir/sub/a.txt"),
    ("dir\n!dir/sub/*.txt\nnode\n.git\ntemp*\n*.md", "a.txt dir/sub/a.txt"),
    (
        "# *.txt\n\n  *.md  \n./node/../node/x\n.git\ntemp",
        "a.txt dir/a.txt dir/b.md dir/sub/a.txt tempo",
    ),
    ("**/sub\n[ab].*\n.git\n**/y\n!**/none", "README.md dir/a.txt dir/b.md temp/t tempo"),
    ("**\n!tempo\nDockerfile\n.dockerignore", "tempo"),
];

fn ignored_files_stay_behind(world: &World) -> Result<()> {
    let dockerfile = "FROM busybox\nCOPY . /c/\n\
        RUN cd /c && echo \"<$(find . -type f | sed 's,^./,,' | grep -vE '^(Dockerfile|.dockerignore)$' | sort | xargs)>\"\n";
    for (ignore, expected) in IGNORED {
        let mut files = FILES.to_vec();
        files.push((".dockerignore", ignore));
        let told = made(world, dockerfile, &files, &["--no-cache"])?;
        ensure!(told.contains(&format!("<{expected}>")), "{ignore:?}: {told}\nnot {expected}");
    }
    // Clients send these two in any case; the image does not have them.
    let seen = in_image(world, "t", "ls -A /c")?;
    ensure!(seen == "tempo\n", "{seen}");
    let lines = "FROM busybox\nCOPY a.txt /\n";
    let told = super::refused(world, lines, &[("a.txt", ""), (".dockerignore", "*.txt")], &[])?;
    ensure!(told.contains("excluded by .dockerignore"), "{told}");
    Ok(())
}

#[test]
fn a_dockerfile_has_an_ignore_file_of_its_own() -> Result<()> {
    with(Program::Teu, |world| {
        let files = Files::new(
            world,
            "ctx",
            &[
                ("x/Special", "FROM busybox\nCOPY . /c/\n"),
                ("x/Special.dockerignore", "a\n"),
                (".dockerignore", "b\n"),
                ("a", ""),
                ("b", ""),
            ],
        )?;
        let dir = files.path().display().to_string();
        world.client.run(&["build", "-t", "t", "-f", &format!("{dir}/x/Special"), &dir])?;
        let seen = in_image(world, "t", "ls /c")?;
        ensure!(seen == "b\nx\n", "{seen}");
        Ok(())
    })
}
