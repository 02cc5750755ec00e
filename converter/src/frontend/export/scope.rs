//! Module paths of calls: `encoder.layer.3.attention.self`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Paths told from `nn_module_stack`, each kept once.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    known: HashMap<String, Arc<str>>,
}

impl Scopes {
    /// The innermost module of a stack; empty for the outermost module and for calls made in none.
    pub(super) fn innermost(&mut self, stack: Option<&str>) -> Arc<str> {
        let path = stack.map_or(Cow::Borrowed(""), path);
        if let Some(known) = self.known.get(path.as_ref()) {
            return known.clone();
        }
        let kept: Arc<str> = path.as_ref().into();
        self.known.insert(path.into_owned(), kept.clone());
        kept
    }
}

/// The class of the outermost module, without its package: `BertModel`.
pub(super) fn class(stack: &str) -> Option<&str> {
    let entry = stack.split(';').next()?;
    match fields(entry).collect::<Vec<_>>()[..] {
        [_, "", class] => class.rsplit('.').next(),
        _ => None,
    }
}

/// The path in the last of a stack's entries, `key,path,class` with semicolons between
/// (`torch/_export/serde/serialize.py`, `serialize_metadata`).
fn path(stack: &str) -> Cow<'_, str> {
    let entry = stack.rsplit(';').next().unwrap_or_default();
    let mut fields = fields(entry);
    let (Some(_), Some(path), Some(_)) = (fields.next(), fields.next(), fields.next()) else {
        return Cow::Borrowed("");
    };
    // A stand-in for modules that are not known.
    if path.starts_with("_empty_nn_module_stack") {
        return Cow::Borrowed("");
    }
    // Modules whose `forward` does not call itself `self` are named after their local variable: `L['model'].encoder`.
    let path = match path.strip_prefix("L[").and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => rest.strip_prefix('.').unwrap_or(rest),
        None => path,
    };
    // A module's second call is `name@1`.
    from_the_start(path.split_once('@').map_or(path, |(path, _)| path))
}

/// Layers reached through `layers[:n]` have its slice in their path, `layers.slice(None, 2, None).0`, and the numbers
/// they have without it.
fn from_the_start(path: &str) -> Cow<'_, str> {
    const BEGIN: &str = "slice(None, ";
    const END: &str = ", None).";
    let slice = |path: &str| {
        let start = path.find(BEGIN)?;
        let inner = start + BEGIN.len();
        let length = path[inner..].find(END)?;
        path[inner..inner + length]
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(start..inner + length + END.len())
    };
    let mut path = Cow::Borrowed(path);
    while let Some(range) = slice(&path) {
        path.to_mut().replace_range(range, "");
    }
    path
}

/// Fields between commas that stand in no bracket.
fn fields(entry: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    entry.split(move |c| {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_class() {
        assert_eq!(
            class("L__self__,,transformers.models.bert.modeling_bert.BertModel;L__self__pooler,pooler,T"),
            Some("BertModel")
        );
        for stack in ["", "nonsense", "L__self__pooler,pooler,T", "_empty,_empty,_empty"] {
            assert_eq!(class(stack), None, "{stack}");
        }
    }

    #[test]
    fn stacks_as_exports_write_them() {
        for (stack, expected) in [
            ("L__self__,,transformers.BertModel", ""),
            (
                "L__self__,,T;L__self__encoder.layer.0,encoder.layer.0,transformers.BertLayer",
                "encoder.layer.0",
            ),
            (
                "L__self__,,T;L__s___b_embeddings,L['s'].b.embeddings,T",
                "b.embeddings",
            ),
            ("L__self__,,T;L__self__layers.0@1,layers.0@1,T", "layers.0"),
            ("L__self__,,T;k[(1,2)],layers.0,types.Generic[a,b]", "layers.0"),
            (
                "L__self__,,T;L__self___layers_1,layers.slice(None, 2, None).1.mlp,T",
                "layers.1.mlp",
            ),
            // From another start the numbers would be others.
            (
                "L__self__,,T;L__self___layers_1,layers.slice(1, 2, None).1.mlp,T",
                "layers.slice(1, 2, None).1.mlp",
            ),
            (
                "_empty_nn_module_stack_from_metadata_hook,_empty_nn_module_stack_from_metadata_hook,\
                 _empty_nn_module_stack_from_metadata_hook",
                "",
            ),
            ("nonsense", ""),
            ("", ""),
        ] {
            assert_eq!(path(stack), expected, "{stack}");
        }
    }
}
