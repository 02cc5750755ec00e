//! The pickle machine with every global allowed: no panic, and a table whose references all hold.

#![no_main]

use corer_converter::source::pickle::{Node, Pickle};
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    let archives = corer_fuzz::files("converter/tests/source/written_by_torch", ".bin");
    let start = |archive: &Vec<u8>| {
        let at = archive
            .windows(2)
            .position(|bytes| matches!(bytes, [0x80, 2..=5]))?;
        Some(archive[at..].to_vec())
    };
    archives.iter().filter_map(start).collect()
}

fuzz_target!(
    init: corer_fuzz::write_seeds(seeds),
    |data: &[u8]| {
        let Ok(pickle) = Pickle::read(data, &|_, _| true) else { return };
        assert!(pickle.consumed() <= data.len());
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![pickle.root()];
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            assert!(pickle.offset(id) < data.len() as u64);
            match pickle.node(id) {
                Node::List(ids) | Node::Set(ids) => open.extend(ids),
                Node::Tuple(ids) => open.extend(ids.iter()),
                Node::Dict(items) => open.extend(items.iter().flat_map(|(key, value)| [*key, *value])),
                Node::Persistent(id) => open.push(*id),
                Node::Object(object) => {
                    open.extend([object.callable, object.arguments]);
                    open.extend(object.keywords.iter().chain(&object.state).chain(&object.appended));
                    open.extend(object.items.iter().flat_map(|(key, value)| [*key, *value]));
                }
                _ => {}
            }
        }
    }
);
