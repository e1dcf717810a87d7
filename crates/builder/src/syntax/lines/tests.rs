use super::*;

fn texts(source: &str) -> Vec<String> {
    split(source).unwrap().statements.into_iter().map(|statement| statement.text).collect()
}

#[test]
fn lines_are_joined_without_comments_between() {
    let source = "# comment\nFROM a\n\nRUN one \\\n# not this\n\n   two \\  \n three\n CMD x\n";
    assert_eq!(texts(source), ["FROM a", "RUN one    two  three", "CMD x"]);
    let lines = split(source).unwrap();
    assert_eq!(lines.warnings.len(), 1);
    assert_eq!(lines.warnings[0].span.line, 6);
}

#[test]
fn places_survive_joining() {
    let statement = split("FROM a\n  RUN one \\\n  two three\n").unwrap().statements[1].clone();
    let at = statement.text.find("three").unwrap();
    let span = statement.span(at..at + 5);
    assert_eq!((span.line, span.column, span.length), (3, 7, 5));
    let span = statement.span(0..3);
    assert_eq!((span.line, span.column, span.length), (2, 3, 3));
}

#[test]
fn directives_stand_on_top_only() {
    let lines = split("# escape=`\n# syntax = docker/dockerfile:1\nRUN a `\n b\n").unwrap();
    assert_eq!(lines.directives.escape, '`');
    assert_eq!(lines.directives.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(lines.statements[0].text, "RUN a  b");
    let lines = split("# hello\n# escape=`\nRUN a\n").unwrap();
    assert_eq!(lines.directives.escape, '\\');
    assert!(split("# escape=x\nRUN a\n").is_err());
    assert!(split("# escape=`\n# escape=`\nRUN a\n").is_err());
}

#[test]
fn heredocs_end_at_their_word() {
    let source = "RUN <<EOF cat <<-'B'\na $X\nEOF\n\tb\n\tB\nCMD [\"<<EOF\"]\nCOPY <<f /x\nf\n";
    let lines = split(source).unwrap();
    let run = &lines.statements[0];
    assert_eq!(run.heredocs.len(), 2);
    assert_eq!(run.heredocs[0].content, "a $X\n");
    assert!(run.heredocs[0].expand && !run.heredocs[1].expand);
    assert_eq!(run.heredocs[1].content, "b\n");
    assert_eq!(lines.statements[1].text, "CMD [\"<<EOF\"]");
    assert_eq!(lines.statements[2].heredocs[0].content, "");
    let error = split("RUN <<EOF\nx\n").unwrap_err();
    assert_eq!((error.span.line, error.span.column), (1, 5));
}

#[test]
fn shell_redirections_are_no_heredocs() {
    assert!(split("RUN cat <<<EOF\n").unwrap().statements[0].heredocs.is_empty());
    assert!(split("RUN echo $((1<<2))\n").unwrap().statements[0].heredocs.is_empty());
}
