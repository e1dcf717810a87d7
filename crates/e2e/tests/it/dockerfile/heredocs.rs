//! Text in the Dockerfile itself: scripts of RUN, files of COPY and ADD.

use anyhow::{Result, ensure};
use e2e::Program;

use super::{made, refused};
use crate::build::in_image;
use crate::with;

const HEREDOCS: &str = r#"# syntax=docker/dockerfile:1
FROM busybox
ENV WHO=world
ARG X=arg
RUN <<EOF
set -e
echo "hello $WHO" > /a
false || echo 'second  line' >> /a
EOF
RUN <<-EOT
	echo tabs > /b
		echo more >> /b
	EOT
RUN <<'EOF'
echo '$WHO' "$WHO" \
  joined > /c
EOF
RUN <<EOF
#!/bin/awk -f
BEGIN { print "it's awk" > "/d" }
EOF
RUN cat <<ONE > /e && cat <<TWO >> /e && cat <<'THREE' >> /e
one $WHO
ONE
two \$WHO
TWO
three $WHO
THREE
RUN sh <<EOF
echo inner \$((1+1)) > /f
EOF
COPY <<EOF /g
value $WHO \$WHO ${X:-none} it's "quoted"
# no comment
EOF
COPY <<"EOF" /h
$WHO \n
EOF
COPY <<one.txt <<-two.txt real.txt /dir/
1
one.txt
	2 ${WHO}
	two.txt
COPY --chmod=4750 --chown=user:extra <<s /script
#!/bin/sh
s
ADD <<x /added
RUN nothing
x
COPY <<empty /empty
empty
WORKDIR /place
COPY <<rel sub/
relative
rel
"#;

#[test]
fn scripts_and_files_stand_in_the_dockerfile() -> Result<()> {
    with(Program::Teu, |world| {
        made(world, HEREDOCS, &[("real.txt", "real\n")], &[])?;
        for (path, expected) in [
            ("/a", "hello world\nsecond  line\n"),
            ("/b", "tabs\nmore\n"),
            ("/c", "$WHO world joined\n"),
            ("/d", "it's awk\n"),
            ("/e", "one world\ntwo $WHO\nthree $WHO\n"),
            ("/f", "inner 2\n"),
            ("/g", "value world $WHO arg it's \"quoted\"\n# no comment\n"),
            ("/h", "$WHO \\n\n"),
            ("/dir/one.txt", "1\n"),
            ("/dir/two.txt", "2 world\n"),
            ("/dir/real.txt", "real\n"),
            ("/added", "RUN nothing\n"),
            ("/empty", ""),
            ("/place/sub/rel", "relative\n"),
        ] {
            let seen = in_image(world, "t", &format!("cat {path}"))?;
            ensure!(seen == expected, "{path}: {seen:?}, not {expected:?}");
        }
        let seen = in_image(world, "t", "stat -c '%a %U:%G' /script; stat -c %a:%u /g; ls /tmp")?;
        ensure!(seen == "4750 user:extra\n644:0\n", "{seen}");
        Ok(())
    })
}

#[test]
fn a_heredoc_that_fails_or_does_not_end_is_told() -> Result<()> {
    with(Program::Teu, |world| {
        let told = refused(world, "FROM busybox\nRUN <<EOF\nexit 3\nEOF\n", &[], &[])?;
        ensure!(told.contains("non-zero code: 3") && told.contains("Dockerfile:2:1"), "{told}");
        let script = "FROM busybox\nRUN <<EOF\n#!/bin/sh\nexit 4\nEOF\n";
        let told = refused(world, script, &[], &[])?;
        ensure!(told.contains("non-zero code: 4"), "{told}");
        let told = refused(world, "FROM busybox\nRUN <<EOF\necho\n", &[], &[])?;
        ensure!(told.contains("unterminated heredoc") && told.contains("Dockerfile:2:5"), "{told}");
        let told = refused(world, "FROM busybox\nCOPY <<EOF /x\n${none:?it is}\nEOF\n", &[], &[])?;
        ensure!(told.contains("none: it is"), "{told}");
        Ok(())
    })
}
