//! What inputs and outputs are called in the package: names a user gives must be good as they are, names a program
//! brings are made so.

use std::collections::BTreeSet;

use corer_mil::builder::{identifier, is_identifier};

use crate::error::ConvertError;

/// Names given so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    /// A name the program brings, or the nearest that is free and may name a value of the package.
    pub(super) fn own(&mut self, wanted: &str) -> String {
        let mut name = identifier(wanted);
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    /// A name `flag` gives an output.
    ///
    /// # Errors
    /// When it can't name a value of a package, or names another already.
    pub(super) fn given(&mut self, flag: &'static str, name: &str) -> Result<String, ConvertError> {
        let refuse = |reason: String| Err(ConvertError::Request { flag, reason });
        if !is_identifier(name) {
            return refuse(format!(
                "`{name}` can't name an output: letters, digits and `_` can, without a digit first and other than words \
                 of Core ML's own language; `{}` would do",
                identifier(name)
            ));
        }
        match self.taken.insert(name.to_owned()) {
            true => Ok(name.to_owned()),
            false => refuse(format!("`{name}` is the name of an input or of another output")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_own_names_are_made_good() {
        let mut names = Names::default();
        let own: Vec<String> = ["logits", "logits", "string", "hidden.0", "0"]
            .iter()
            .map(|name| names.own(name))
            .collect();
        assert_eq!(own, ["logits", "logits_", "string_", "hidden_0", "_0"]);
    }

    #[test]
    fn names_that_are_given_are_taken_or_refused() {
        let mut names = Names::default();
        assert_eq!(names.own("input_ids"), "input_ids");
        assert_eq!(
            names.given("--output-name", "pooled").ok().as_deref(),
            Some("pooled")
        );
        for (name, reason) in [
            ("pooled", "another output"),
            ("input_ids", "an input"),
            ("func", "`func_` would do"),
            ("a b", "`a_b` would do"),
            ("1st", "`_1st` would do"),
            ("", "`_` would do"),
        ] {
            let error = names.given("--output-name", name).expect_err(name).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
