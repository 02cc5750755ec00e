//! Names that come near a missing one.

/// Most names compared: beyond that a suggestion is not worth its time.
const MOST_COMPARED: usize = 1 << 14;

/// Longest name compared.
const LONGEST: usize = 256;

/// Most names suggested.
const MOST_SUGGESTED: usize = 3;

/// The names nearest to `wanted`, nearest first: those that only differ by a prefix, then those with few edits
/// (at most a third of the name). Numbers count: `layer.1` is not offered for `layer.2` unless nothing is nearer.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    if wanted.is_empty() || wanted.len() > LONGEST {
        return Vec::new();
    }
    let tail = |a: &str, b: &str| a.strip_suffix(b).is_some_and(|rest| rest.ends_with('.'));
    let mut ranked: Vec<(usize, &str)> = names
        .take(MOST_COMPARED)
        .filter(|name| name.len() <= LONGEST && *name != wanted)
        .filter_map(|name| {
            if tail(name, wanted) || tail(wanted, name) {
                return Some((0, name));
            }
            let allowed = wanted.len() / 3;
            if name.len().abs_diff(wanted.len()) > allowed {
                return None;
            }
            let edits = strsim::levenshtein(name, wanted);
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            let penalty = if digits(name) == digits(wanted) {
                0
            } else {
                allowed / 2
            };
            (edits + penalty <= allowed).then_some((edits + penalty, name))
        })
        .collect();
    ranked.sort_unstable();
    ranked
        .into_iter()
        .take(MOST_SUGGESTED)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn prefix_first_then_few_edits_and_never_something_else() {
        let names = [
            "bert.pooler.dense.weight",
            "pooler.dense.wieght",
            "encoder.layer.0.output.dense.weight",
        ];
        let near = nearest("pooler.dense.weight", names.into_iter());
        assert_eq!(near, ["bert.pooler.dense.weight", "pooler.dense.wieght"]);
        assert!(nearest("cls.predictions.bias", names.into_iter()).is_empty());
    }
}
