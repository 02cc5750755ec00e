//! Names near a misspelt one.

/// The up to three known names most like `wanted`, best first; none that would not help.
pub(super) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    // Longer names than any real one are not compared: the distance costs their product.
    const LONGEST: usize = 128;
    const ALIKE: f64 = 0.7;
    if wanted.len() > LONGEST {
        return Vec::new();
    }
    let mut scored: Vec<(f64, &str)> = known
        .filter(|name| name.len() <= LONGEST)
        .map(|name| (strsim::normalized_damerau_levenshtein(wanted, name), name))
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup();
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// ` (did you mean `a` or `b`?)`, or nothing.
pub(super) fn hint(names: &[&str]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!(" (did you mean {}?)", quoted.join(" or "))
}
