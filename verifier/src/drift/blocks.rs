//! A model's blocks, from the paths of its modules.

use std::collections::BTreeMap;

use crate::reference::Place;

/// The modules below one.
#[derive(Default)]
struct Module<'a> {
    below: BTreeMap<&'a str, Module<'a>>,
}

impl<'a> Module<'a> {
    fn of(places: &'a [Place]) -> Self {
        let mut root = Self::default();
        for place in places {
            let mut module = &mut root;
            for part in place.split('.') {
                module = module.below.entry(part).or_default();
            }
        }
        root
    }

    /// Modules in it, itself included.
    fn size(&self) -> usize {
        1 + self.below.values().map(Self::size).sum::<usize>()
    }

    /// Whether its children are numbered: the layers of a model, the parts of a sequence.
    fn is_list(&self) -> bool {
        !self.below.is_empty() && self.below.keys().all(|name| name.parse::<usize>().is_ok())
    }

    /// The size of the largest list somewhere in it, itself left out.
    fn largest_list(&self) -> usize {
        let own = |module: &Self| if module.is_list() { module.size() } else { 0 };
        let below = self.below.values();
        below
            .map(|module| own(module).max(module.largest_list()))
            .max()
            .unwrap_or(0)
    }
}

/// The block every place belongs to.
///
/// A module that is mostly one list of layers is taken apart, any other is a block: `encoder` gives its layers,
/// `embeddings` and a layer with a short sequence inside stay whole.
pub(super) fn blocks(places: &[Place]) -> Vec<String> {
    let root = Module::of(places);
    let block = |place: &Place| {
        let (mut module, mut end) = (&root, 0);
        for (count, part) in place.split('.').enumerate() {
            let apart = count == 0 || module.is_list_to_take_apart();
            if !apart {
                break;
            }
            end += part.len() + usize::from(count > 0);
            match module.below.get(part) {
                Some(below) => module = below,
                None => break,
            }
        }
        place[..end].to_owned()
    };
    places.iter().map(block).collect()
}

impl Module<'_> {
    fn is_list_to_take_apart(&self) -> bool {
        // A list that stands alone is the layers themselves.
        let inner = self.largest_list();
        if inner * 2 > self.size() {
            return true;
        }
        self.is_list()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(places: &[&str]) -> Vec<String> {
        let places: Vec<Place> = places.iter().map(|place| (*place).to_owned()).collect();
        let mut blocks = blocks(&places);
        blocks.dedup();
        blocks
    }

    #[test]
    fn layers_are_blocks_wherever_they_lie() {
        let bert = [
            "embeddings.word_embeddings",
            "embeddings.LayerNorm",
            "encoder.layer.0.attention.self.query",
            "encoder.layer.0.output.dense",
            "encoder.layer.1.attention.self.query",
            "encoder.layer.1.output.dense",
            "pooler.dense",
        ];
        let blocks = ["embeddings", "encoder.layer.0", "encoder.layer.1", "pooler"];
        assert_eq!(of(&bert), blocks);
        let inside: Vec<String> = bert.iter().map(|place| format!("0.auto_model.{place}")).collect();
        let mut inside: Vec<&str> = inside.iter().map(String::as_str).collect();
        inside.push("1.pooling");
        let mut expected: Vec<String> = blocks
            .iter()
            .map(|block| format!("0.auto_model.{block}"))
            .collect();
        expected.push("1".into());
        assert_eq!(of(&inside), expected);
    }

    #[test]
    fn a_short_sequence_does_not_take_a_layer_apart() {
        let places = [
            "layers.0.attention.query",
            "layers.0.attention.key",
            "layers.0.attention.value",
            "layers.0.mlp.0",
            "layers.0.mlp.2",
            "layers.1.attention.query",
        ];
        assert_eq!(of(&places), ["layers.0", "layers.1"]);
    }
}
