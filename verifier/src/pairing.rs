//! Which output of a package is which output of its reference.

use crate::error::VerifyError;
use crate::report::PairedBy;

/// An output's name and the shape of one row of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) row_shape: Vec<usize>,
}

impl Named {
    fn show(&self) -> String {
        let sizes: Vec<String> = std::iter::once("n".to_owned())
            .chain(self.row_shape.iter().map(usize::to_string))
            .collect();
        format!("{} ({})", self.name, sizes.join(", "))
    }
}

/// For every package output the index of its reference output, and why.
///
/// In this order: what the caller asked for; equal names; as many outputs left on both sides with equal shapes in
/// order; the only one left of its shape on both sides. `reference` lists everything the reference can give, the
/// `task` first outputs of it are its task's own, in the source framework's order.
pub(crate) fn pair(
    package: &[Named],
    reference: &[Named],
    task: usize,
    asked: &[(String, String)],
) -> Result<Vec<(usize, PairedBy)>, VerifyError> {
    let fail = |reason: String| VerifyError::Pairing {
        reason,
        package: package.iter().map(Named::show).collect(),
        reference: reference.iter().map(Named::show).collect(),
    };
    let mut found: Vec<Option<(usize, PairedBy)>> = vec![None; package.len()];
    for (of_package, of_reference) in asked {
        let position = |side: &[Named], name: &str| side.iter().position(|output| output.name == name);
        let ours = position(package, of_package)
            .ok_or_else(|| fail(format!("the package has no output `{of_package}`")))?;
        let theirs = position(reference, of_reference)
            .ok_or_else(|| fail(format!("the reference has no output `{of_reference}`")))?;
        found[ours] = Some((theirs, PairedBy::Request));
    }
    for (output, slot) in package.iter().zip(&mut found) {
        let same = reference
            .iter()
            .position(|candidate| candidate.name == output.name);
        if let (None, Some(theirs)) = (&slot, same) {
            *slot = Some((theirs, PairedBy::Name));
        }
    }
    let free = |found: &[Option<(usize, PairedBy)>], index: usize| {
        found.iter().flatten().all(|(taken, _)| *taken != index)
    };
    let open: Vec<usize> = (0..package.len())
        .filter(|index| found[*index].is_none())
        .collect();
    let left: Vec<usize> = (0..task).filter(|index| free(&found, *index)).collect();
    let fits = |ours: usize, theirs: usize| package[ours].row_shape == reference[theirs].row_shape;
    if open.len() == left.len() && open.iter().zip(&left).all(|(ours, theirs)| fits(*ours, *theirs)) {
        for (ours, theirs) in open.iter().zip(&left) {
            found[*ours] = Some((*theirs, PairedBy::Order));
        }
    }
    for ours in open
        .iter()
        .copied()
        .filter(|ours| found[*ours].is_none())
        .collect::<Vec<_>>()
    {
        let rivals = open
            .iter()
            .filter(|other| package[**other].row_shape == package[ours].row_shape)
            .count();
        let candidates: Vec<usize> = (0..reference.len())
            .filter(|theirs| free(&found, *theirs) && fits(ours, *theirs))
            .collect();
        if let ([only], 1) = (&candidates[..], rivals) {
            found[ours] = Some((*only, PairedBy::Shape));
        }
    }
    let pairs = package.iter().zip(found).map(|(output, slot)| {
        let (theirs, why) =
            slot.ok_or_else(|| fail(format!("`{}` could be several or none", output.name)))?;
        if output.row_shape == reference[theirs].row_shape {
            Ok((theirs, why))
        } else {
            Err(fail(format!(
                "`{}` and `{}` differ in shape",
                output.name, reference[theirs].name
            )))
        }
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(outputs: &[(&str, &[usize])]) -> Vec<Named> {
        outputs
            .iter()
            .map(|(name, shape)| Named {
                name: (*name).into(),
                row_shape: shape.to_vec(),
            })
            .collect()
    }

    fn asked(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(ours, theirs)| ((*ours).into(), (*theirs).into()))
            .collect()
    }

    #[test]
    fn names_come_first_then_order_then_shape() {
        let reference = named(&[
            ("start_logits", &[64]),
            ("end_logits", &[64]),
            ("last_hidden_state", &[64, 8]),
        ]);
        // Alphabetical order would exchange these.
        let by_name = pair(
            &named(&[("end_logits", &[64]), ("start_logits", &[64])]),
            &reference,
            2,
            &[],
        )
        .unwrap();
        assert_eq!(by_name, [(1, PairedBy::Name), (0, PairedBy::Name)]);
        let by_order = pair(&named(&[("var_7", &[64]), ("var_9", &[64])]), &reference, 2, &[]).unwrap();
        assert_eq!(by_order, [(0, PairedBy::Order), (1, PairedBy::Order)]);
        let by_shape = pair(&named(&[("var_7", &[64, 8])]), &reference, 2, &[]).unwrap();
        assert_eq!(by_shape, [(2, PairedBy::Shape)]);
    }

    #[test]
    fn what_the_caller_says_wins() {
        let reference = named(&[("start_logits", &[64]), ("end_logits", &[64])]);
        let package = named(&[("a", &[64]), ("b", &[64])]);
        let pairs = pair(
            &package,
            &reference,
            2,
            &asked(&[("a", "end_logits"), ("b", "start_logits")]),
        )
        .unwrap();
        assert_eq!(pairs, [(1, PairedBy::Request), (0, PairedBy::Request)]);
        // One named, the other follows.
        let pairs = pair(&package, &reference, 2, &asked(&[("a", "end_logits")])).unwrap();
        assert_eq!(pairs, [(1, PairedBy::Request), (0, PairedBy::Order)]);
    }

    #[test]
    fn doubt_is_an_error_that_shows_both_sides() {
        let reference = named(&[("sentence_embedding", &[8]), ("pooler_output", &[8])]);
        let error = pair(&named(&[("x", &[8]), ("y", &[3])]), &reference, 1, &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("x (n, 8), y (n, 3)"), "{error}");
        assert!(
            error.contains("sentence_embedding (n, 8), pooler_output (n, 8)"),
            "{error}"
        );
        assert!(pair(&named(&[("x", &[8])]), &reference, 1, &asked(&[("x", "logits")])).is_err());
        assert!(
            pair(
                &named(&[("x", &[8])]),
                &reference,
                1,
                &asked(&[("z", "pooler_output")])
            )
            .is_err()
        );
        let wrong_shape = pair(&named(&[("pooler_output", &[9])]), &reference, 1, &[])
            .unwrap_err()
            .to_string();
        assert!(wrong_shape.contains("differ in shape"), "{wrong_shape}");
    }
}
