//! Guesses what a mistyped word was meant to be.

/// Returns the candidate nearest to `word`, if it is near enough to be a typing error.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = match word.chars().count() {
        0..=2 => 1,
        3..=6 => 2,
        _ => 3,
    };
    candidates
        .map(|candidate| {
            let near = if candidate.starts_with(word) { 0 } else { distance(word, candidate) };
            (near, candidate)
        })
        .filter(|(near, candidate)| *near <= limit && *near < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Counts the insertions, deletions, replacements and swaps of neighbours from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut table = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = table[(i - 1) * width + j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let deleted = table[(i - 1) * width + j] + 1;
                let inserted = table[i * width + j - 1] + 1;
                let mut best = replaced.min(deleted).min(inserted);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[(i - 2) * width + j - 2] + 1);
                }
                best
            };
        }
    }
    table[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_word() {
        let words = ["run", "rm", "rmi", "restart", "images"];
        let cases =
            [("ru", Some("run")), ("rnu", Some("run")), ("image", Some("images")), ("xyzzy", None)];
        for (typed, expected) in cases {
            assert_eq!(nearest(typed, words.into_iter()), expected, "{typed}");
        }
    }
}
