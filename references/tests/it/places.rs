//! Inner values by module path.

use corer_verifier::{GoldenReference, Reference, ReferenceError};

use crate::{fixtures, opened};

#[test]
fn a_module_gives_what_its_last_operation_gives() {
    let model = fixtures().join("bert-tiny/feature-extraction");
    let golden = GoldenReference::open(&model.join("expected.safetensors")).unwrap();
    let reference = opened(&model, &golden, 2);
    let places = reference.places();
    let block = |layer: usize| format!("encoder.layer.{layer}");
    let position = |place: &str| places.iter().position(|other| other == place);
    assert!(
        position(&block(0)).unwrap() < position(&block(1)).unwrap(),
        "{places:?}"
    );
    assert!(position("encoder.layer.1.attention.output").unwrap() < position(&block(1)).unwrap());

    let last = (0..)
        .take_while(|layer| position(&block(*layer)).is_some())
        .last()
        .unwrap();
    let batch = golden.inputs().batch(1, 3);
    let want = ["encoder.layer.0.attention.output".to_owned(), block(last)];
    let [inner, outer] = &reference.traced(&batch, &want).unwrap()[..] else {
        panic!("two were wanted")
    };
    // Nothing follows the last block but the pooler.
    assert_eq!(*outer, reference.outputs(&batch).unwrap()["last_hidden_state"]);
    assert_eq!(inner.shape(), outer.shape());
    assert_ne!(inner, outer);

    let elsewhere = reference
        .traced(&batch, &["encoder.layer.99".to_owned()])
        .unwrap_err();
    assert!(matches!(elsewhere, ReferenceError::Place { .. }), "{elsewhere}");
}
