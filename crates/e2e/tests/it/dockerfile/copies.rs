//! COPY and ADD: what is taken, where it goes, whose it is.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::Program;

use super::{made, refused};
use crate::build::{Files, build, built, in_image, nothing_is_left};
use crate::{World, with};

/// Lines, what to look at in the image, what is seen there.
type Row = (&'static str, &'static str, &'static str);

const TREE: [(&str, &str); 9] = [
    ("a.txt", "a\n"),
    ("b.txt", "b\n"),
    ("c.md", "c\n"),
    ("[x].txt", "bracket\n"),
    ("dir/one", "1\n"),
    ("dir/sub/two", "2\n"),
    ("dir/sub/deep/three.md", "3\n"),
    ("with space/f", "space\n"),
    ("p/q/r/s.txt", "s\n"),
];

const ROWS: &[Row] = &[
    // A file to a file, to a directory, to the working directory.
    ("COPY a.txt /x", "cat /x", "a\n"),
    ("COPY a.txt /n/e/w/", "cat /n/e/w/a.txt", "a\n"),
    ("COPY a.txt b.txt /two/", "cd /two && ls", "a.txt\nb.txt\n"),
    (
        "WORKDIR /w\nCOPY a.txt .\nCOPY a.txt rel\nCOPY a.txt ./d/",
        "find /w | sort",
        "/w\n/w/a.txt\n/w/d\n/w/d/a.txt\n/w/rel\n",
    ),
    ("RUN mkdir /is\nCOPY a.txt /is", "cat /is/a.txt", "a\n"),
    // The content of a directory, not the directory.
    (
        "COPY dir /d",
        "cd /d && find . | sort",
        ".\n./one\n./sub\n./sub/deep\n./sub/deep/three.md\n./sub/two\n",
    ),
    ("COPY dir /d/", "ls /d", "one\nsub\n"),
    ("COPY dir/ /etc/", "ls /etc/one /etc/passwd", "/etc/one\n/etc/passwd\n"),
    ("COPY dir p /d", "ls /d", "one\nq\nsub\n"),
    ("COPY dir a.txt /d/", "ls /d", "a.txt\none\nsub\n"),
    ("COPY . /all/", "ls /all | head -3", "Dockerfile\n[x].txt\na.txt\n"),
    // Patterns.
    ("COPY *.txt /d/", "ls /d", "[x].txt\na.txt\nb.txt\n"),
    ("COPY [ab].txt /d/", "ls /d", "a.txt\nb.txt\n"),
    ("COPY [^a].txt /d/", "ls /d", "b.txt\n"),
    ("COPY ?.md /d/", "ls /d", "c.md\n"),
    ("COPY [[]x].txt /d/", "ls /d", "[x].txt\n"),
    ("COPY d*/s*b /d/", "ls /d", "deep\ntwo\n"),
    ("COPY none* a.txt /d/", "ls /d", "a.txt\n"),
    ("COPY [\"with space/f\", \"/x y/\"]", "cat '/x y/f'", "space\n"),
    ("COPY \"with space/f\" /x", "cat /x", "space\n"),
    ("ARG N=a\nENV D=/e\nCOPY ${N}.txt $D/", "cat /e/a.txt", "a\n"),
    ("COPY ../../a.txt /x", "cat /x", "a\n"),
    ("COPY /a.txt /x", "cat /x", "a\n"),
    // Owners, by number and by the names of the image.
    ("COPY --chown=5:6 dir /d", "stat -c %u:%g /d /d/one /d/sub/two", "5:6\n5:6\n5:6\n"),
    ("COPY --chown=user a.txt /n/x", "stat -c %U:%G /n /n/x", "user:user\nuser:user\n"),
    ("COPY --chown=user:extra a.txt /x", "stat -c %U:%G /x", "user:extra\n"),
    ("COPY --chown=:extra a.txt /x", "stat -c %u:%G /x", "0:extra\n"),
    ("COPY --chown=1234 a.txt /x", "stat -c %u:%g /x", "1234:1234\n"),
    ("USER user\nCOPY a.txt /x", "stat -c %u:%g /x", "0:0\n"),
    ("ARG O=user\nCOPY --chown=$O a.txt /x", "stat -c %U /x", "user\n"),
    // Modes.
    ("COPY --chmod=4711 a.txt /x", "stat -c %a /x", "4711\n"),
    ("COPY --chmod=0700 dir /d", "stat -c %a /d/one /d/sub", "700\n700\n"),
    ("COPY --chmod=u=rwX,go=rX dir /d", "stat -c %a /d/one /d/sub", "644\n755\n"),
    ("COPY --chmod=a-w,u+s a.txt /x", "stat -c %a /x", "4444\n"),
    ("ARG M=600\nCOPY --chmod=$M a.txt /x", "stat -c %a /x", "600\n"),
    // --link does not look at what is below; the result is the same here.
    ("RUN mkdir -m 700 /d && chown 3:4 /d\nCOPY a.txt /d/", "stat -c %a:%u:%g /d", "700:3:4\n"),
    ("COPY --link a.txt /d/e/", "cat /d/e/a.txt", "a\n"),
    ("COPY --link --chown=5:6 --chmod=600 dir /d", "stat -c %a:%u /d/one", "600:5\n"),
    // --parents keeps directories, from /./ on where it is said.
    (
        "COPY --parents p/q/r/s.txt a.txt /d/",
        "cd /d && find . | sort",
        ".\n./a.txt\n./p\n./p/q\n./p/q/r\n./p/q/r/s.txt\n",
    ),
    ("COPY --parents p/./q/r /d/", "cd /d && find . | sort", ".\n./q\n./q/r\n./q/r/s.txt\n"),
    ("COPY --parents dir/*/two /d/", "cat /d/dir/sub/two", "2\n"),
    ("COPY --parents dir/**/*.md /d/", "cat /d/dir/sub/deep/three.md", "3\n"),
    // --exclude.
    (
        "COPY --exclude=*.md . /d/",
        "ls /d",
        "Dockerfile\n[x].txt\na.txt\nb.txt\ndir\np\nwith space\n",
    ),
    ("COPY --exclude=sub dir /d/", "ls /d", "one\n"),
    (
        "COPY --exclude=**/*.md --exclude=one dir /d/",
        "cd /d; find . | sort",
        ".\n./sub\n./sub/deep\n./sub/two\n",
    ),
    (
        "COPY --exclude=sub --exclude=!sub/two dir /d/",
        "cd /d; find . | sort",
        ".\n./one\n./sub\n./sub/two\n",
    ),
    // What is there is kept or replaced; links on the way are followed.
    (
        "RUN mkdir /real && ln -s /real /ln\nCOPY a.txt /ln/",
        "ls -d /real/a.txt; readlink /ln",
        "/real/a.txt\n/real\n",
    ),
    (
        "RUN mkdir /real && ln -s real /ln\nCOPY dir /ln",
        "ls /real; readlink /ln",
        "one\nsub\nreal\n",
    ),
    ("RUN echo old > /x && chmod 600 /x\nCOPY a.txt /x", "cat /x; stat -c %a /x", "a\n644\n"),
    ("RUN ln -s /target /ln\nCOPY a.txt /ln", "cat /target; readlink /ln", "a\n/target\n"),
    ("COPY a.txt /x\nCOPY b.txt /x", "cat /x", "b\n"),
];

/// Builds all rows at once: each is a stage, and the last one gathers what the others saw.
fn judge(world: &World, rows: &[Row]) -> Result<()> {
    let mut stages = String::new();
    let mut gathered = "FROM busybox\n".to_owned();
    for (number, (lines, script, _)) in rows.iter().enumerate() {
        stages.push_str(&format!(
            "FROM busybox AS row{number}\n{lines}\nUSER root\nWORKDIR /\nRUN ( {script} ) > /seen 2>&1\n"
        ));
        gathered.push_str(&format!("COPY --from=row{number} /seen /seen/{number}\n"));
    }
    made(world, &format!("{stages}{gathered}"), &TREE, &[])?;
    let seen = in_image(world, "t", "cd /seen; for n in *; do echo \"== $n\"; cat $n; done")?;
    let mut wrong = Vec::new();
    for (number, (lines, _, expected)) in rows.iter().enumerate() {
        let mark = format!("== {number}\n");
        let (_, seen) = seen.split_once(&mark).context("what a row saw")?;
        let seen = seen.split("== ").next().unwrap_or_default();
        if seen != *expected {
            wrong.push(format!("{lines}\n  sees {seen:?}\n  not  {expected:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn files_go_where_they_should_with_the_attributes_asked_for() -> Result<()> {
    with(Program::Teu, |world| {
        judge(world, ROWS)?;
        nothing_is_left(world)
    })
}

#[test]
fn what_cannot_be_copied_is_refused_by_name() -> Result<()> {
    with(Program::Teu, |world| {
        for (lines, part) in [
            ("COPY none /x", "none: file does not exist"),
            ("COPY a.txt none /d/", "none: file does not exist"),
            ("COPY none* /d/", "no source files were specified"),
            ("COPY ../../../etc/passwd /x", "etc/passwd: file does not exist"),
            ("COPY a.txt /etc/passwd/", "non-directory"),
            ("COPY a.txt /etc/passwd/x", "Not a directory"),
            ("COPY dir /etc/passwd", "non-directory"),
            ("COPY --chown=nobody-here a.txt /x", "nobody-here"),
            ("COPY --chown=user:no-group a.txt /x", "no-group"),
            ("COPY --chmod=999 a.txt /x", "invalid chmod parameter"),
            ("COPY --chmod=u*x a.txt /x", "invalid chmod parameter"),
            ("COPY --from=7 a.txt /x", "there is no such stage"),
            ("COPY --form=x a.txt /x", "did you mean --from?"),
            ("ADD --from=x a.txt /x", "unknown flag: --from"),
            ("COPY [\"a.txt\"]", "at least two arguments"),
        ] {
            let told = refused(world, &format!("FROM busybox\n{lines}\n"), &TREE, &[])?;
            ensure!(told.contains(part) && told.contains("Dockerfile:2:"), "{lines}: {told}");
        }
        nothing_is_left(world)
    })
}

/// A context with what clients cannot be given as text.
fn context(world: &World, dockerfile: &str, script: &str) -> Result<Files> {
    let files = Files::new(world, "made", &[("Dockerfile", dockerfile)])?;
    let done = Command::new("sh").args(["-ec", script]).current_dir(files.path()).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(files)
}

#[test]
fn links_modes_and_archives_are_taken_as_they_are() -> Result<()> {
    with(Program::Teu, |world| {
        let script = "mkdir d x && echo f > d/f && ln -s f d/rel && ln -s /etc/passwd d/abs && \
            ln -s ../../../etc d/out && ln -s none d/dangling && ln d/f d/hard && chmod 2750 d/f && \
            mkfifo d/fifo && chmod 1777 d && ln -s d to-dir && ln -s d/f to-file && \
            mkdir -p t/in && echo packed > t/in/file && ln -s file t/in/ln && chown -R 7:8 t && \
            tar -C t -cf plain.tar in && tar -C t -czf packed.tgz in && tar -C t -cJf packed.txz in && \
            tar -C t -cjf packed.tbz2 in && zstd -q plain.tar -o packed.zst && \
            gzip -c d/f > text.gz && cp packed.tgz no-name";
        let dockerfile = "FROM busybox\n\
            COPY d /d\n\
            RUN set -e; cd /d; test \"$(stat -c %a .)\" = 1777; test \"$(stat -c %a:%u f)\" = 2750:0; \
              test \"$(readlink rel)\" = f; test \"$(readlink abs)\" = /etc/passwd; \
              test \"$(readlink out)\" = ../../../etc; test -L dangling; test -p fifo; \
              test \"$(stat -c %i f)\" = \"$(stat -c %i hard)\"\n\
            COPY to-dir /through\nCOPY to-file /file\n\
            RUN test -f /through/f && test \"$(cat /file)\" = f && test ! -L /file\n\
            ADD plain.tar /plain\nADD packed.tgz /gz\nADD packed.txz /xz\nADD packed.tbz2 /bz/\n\
            ADD packed.zst /zst\nADD no-name /nn/\n\
            RUN set -e; for d in /plain /gz /xz /bz /zst /nn; do test \"$(cat $d/in/file)\" = packed; \
              test \"$(readlink $d/in/ln)\" = file; test \"$(stat -c %u:%g $d/in/file)\" = 7:8; \
              test \"$(stat -c %a $d)\" = 755; done\n\
            ADD text.gz /text/\nRUN test -f /text/text.gz\n\
            ADD --unpack=false plain.tar /kept/\nCOPY plain.tar /kept/copied\n\
            RUN test -f /kept/plain.tar && test -f /kept/copied\n\
            ADD --chown=user:extra plain.tar /owned/\n\
            RUN test \"$(stat -c %U:%G /owned/in/file)\" = user:extra\n";
        let files = context(world, dockerfile, script)?;
        built(world, &files, &["-t", "t"])?;
        nothing_is_left(world)
    })
}

#[test]
fn links_and_archives_lead_nowhere_outside() -> Result<()> {
    with(Program::Teu, |world| {
        let secret = world.host.scratch().join("secret");
        std::fs::write(&secret, "of the host")?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
        let target = secret.display();
        let script = format!(
            "ln -s {target} abs && ln -s ../secret rel && mkdir d && ln -s / d/root && \
             ln -s d/../../secret up"
        );
        for line in [
            "COPY abs /x".to_owned(),
            "COPY rel /x".to_owned(),
            "COPY up /x".to_owned(),
            format!("COPY d/root{target} /x"),
            "RUN --mount=source=abs,target=/m cat /m".to_owned(),
            format!("RUN --mount=source=d/root{target},target=/m cat /m"),
        ] {
            let dockerfile = format!("FROM busybox\n{line}\n");
            std::fs::remove_dir_all(world.host.scratch().join("made")).ok();
            let files = context(world, &dockerfile, &script)?;
            let ran = build(world, &files, &[])?;
            let told = format!("{}{}", ran.stdout, ran.stderr);
            ensure!(ran.code != 0 && !told.contains("of the host"), "{line}: {told}");
        }
        // An archive that writes through a link of its own, and one that climbs.
        let script = "python3 - <<'E'\n\
            import tarfile, io\n\
            def add(t, name, **k):\n\
            \x20 i = tarfile.TarInfo(name); data = k.pop('data', None)\n\
            \x20 for a in k: setattr(i, a, k[a])\n\
            \x20 if data: i.size = len(data)\n\
            \x20 t.addfile(i, io.BytesIO(data) if data else None)\n\
            t = tarfile.open('evil.tar', 'w')\n\
            add(t, 'ln', type=tarfile.SYMTYPE, linkname='/')\n\
            add(t, 'ln/teu-e2e-evil', data=b'evil')\n\
            add(t, '../../../../../../teu-e2e-evil', data=b'evil')\n\
            t.close()\nE\n";
        std::fs::remove_dir_all(world.host.scratch().join("made")).ok();
        let files = context(world, "FROM busybox\nADD evil.tar /e/\n", script)?;
        // Refused or tamed; never outside.
        let _ = build(world, &files, &[])?;
        ensure!(!std::path::Path::new("/teu-e2e-evil").exists(), "written on the host");
        nothing_is_left(world)
    })
}

#[test]
fn layers_share_no_file_that_anybody_changes() -> Result<()> {
    with(Program::Teu, |world| {
        // What a layer takes from the context stays what it was, whoever has it as well.
        let dockerfile = "FROM busybox\nCOPY f /one\nRUN echo more >> /one && chmod 600 /one\n\
            COPY f /two\nCOPY --chmod=0700 f /three\nCOPY f f /four/\n\
            RUN --mount=source=f,target=/m,rw echo more >> /m\nCOPY f /five\n\
            RUN ln /two /six && echo more >> /six\nCOPY . /all/\n";
        let files = [("f", "text\n")];
        made(world, dockerfile, &files, &[])?;
        let look = "head -n 9 one two three four/f five all/f | grep -c text; wc -l < one; \
            wc -l < five; cat all/f; stat -c %a one two three five; stat -c %h five all/f four/f";
        let seen = in_image(world, "t", look)?;
        ensure!(seen == "6\n2\n1\ntext\n600\n644\n700\n644\n1\n1\n1\n", "{seen}");
        let id = || world.client.run(&["images", "-q", "--no-trunc", "t"]);
        let first = id()?;
        made(world, dockerfile, &files, &[])?;
        ensure!(id()? == first, "the id changed");
        nothing_is_left(world)
    })
}
