//! The rules by id, each with its grade and source.
//!
//! Ids are those of corer's table of Neural Engine rules (D: element types, S: sizes, O: operations, A: attention,
//! L: layout, W: weights, N: numbers, P: placement). The quantizer names W rules and the runtime N rules by the same ids.

use serde::{Serialize, Serializer};

/// How well a rule is known, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Apple says so: documentation, paper or source.
    Documented,
    /// Third parties measured it.
    Measured,
    /// Some measured or wrote this, others the opposite.
    Contested,
    /// Follows from other rules by arithmetic; nobody tried.
    Derived,
    /// One report, or an old system.
    Folklore,
}

impl Grade {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Measured => "measured",
            Self::Contested => "contested",
            Self::Derived => "derived",
            Self::Folklore => "folklore",
        }
    }
}

macro_rules! rules {
    ($($id:ident $grade:ident $on:literal $says:literal $source:literal)*) => {
        /// One rule.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Rule {
            $(#[doc = $says] $id,)*
        }

        impl Rule {
            /// All rules that placement rests on.
            pub const ALL: &[Rule] = &[$(Self::$id),*];

            /// Its id.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$id => stringify!($id),)* }
            }

            /// How well it is known.
            pub const fn grade(self) -> Grade {
                match self { $(Self::$id => Grade::$grade,)* }
            }

            /// Chips and systems it is known for.
            pub const fn on(self) -> &'static str {
                match self { $(Self::$id => $on,)* }
            }

            /// What it says, in a sentence.
            pub const fn says(self) -> &'static str {
                match self { $(Self::$id => $says,)* }
            }

            /// Who found it.
            pub const fn source(self) -> &'static str {
                match self { $(Self::$id => $source,)* }
            }
        }
    };
}

rules! {
    P1 Measured "M4, macOS 27; the principle is older" "Placement is decided on the device, when the model is loaded: what each unit can take, then what costs least." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md; hollance/neural-engine docs/running-on-ane.md"
    P2 Measured "M4, macOS 27 only" "The cheapest way through the operations in file order: estimated times, and 0.125 ms for each stretch on the Neural Engine, each change of unit and once for results that leave it. 440 of 482 graphs exactly, 41 ties, 1 miss." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md 2.3"
    P3 Measured "M4, macOS 27" "The times are the segmenter's own estimates: products count far more on the CPU, all else nearly the same." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md 2.2, ana/iso/*.mil"
    P4 Derived "M4" "Estimates of other sizes go by the rates of the published samples: an estimate of an estimate." "from P3"
    P5 Derived "M4's prices" "Below about 0.13 GFLOP a call an encoder does not pay for the Neural Engine; near it nothing can be told." "from P2 and P4"
    P7 Contested "M1 Pro, macOS 15" "A conformer ran nothing on the Neural Engine at 64 frames and less; Apple's DistilBERT ran at 32 (P8)." "ekhodzitsky/gigastt docs/ane-backend.md; machinelearning.apple.com/research/neural-engine-transformers"
    P11 Folklore "all" "With all units allowed Core ML may take the GPU even for operations the Neural Engine can do." "hollance/neural-engine docs/other.md; smpanaro/more-ane-transformers NOTES.md"
    P13 Measured "M6, M4" "Operations at the end of a stretch may go to the CPU where both cost the same." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/compute_array.md B6b"
    P14 Measured "macOS 14.4 on" "Only MLComputePlan, on the device, says which unit Core ML prefers." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md"
    D1 Documented "all" "An fp32 operation never runs on the Neural Engine; declared precision is not lowered." "apple/coremltools docs-guides typed-execution.md; pytorch/executorch coreml-partitioner.md; apple/coreai-models neural_engine_rules.md"
    D2 Documented "all (said of Core AI)" "One fp32 constant keeps its operation off the Neural Engine." "apple/coreai-models neural_engine_rules.md, common_issues.md"
    D3 Measured "M4, M6" "int32 tensors are not for the Neural Engine." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 plan_iso_all.tsv, arch_h16g_h18g.tsv"
    D4 Measured "M4; M1 Max" "fp32 inputs and outputs bring casts, usually on the CPU, with a copy." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 plan_iso_all.tsv; smpanaro/more-ane-transformers NOTES.md"
    D5 Measured "A15 to M5" "The Neural Engine's own types are fp16, int8 and int16; no bf16, no 64 bits." "apple/coreai-models neural_engine_rules.md (of Core AI); sbryngelson/ANEForge docs/capabilities.md"
    D6 Measured "all seen; Apple's DistilBERT on A15" "A lookup with indices that come with the input runs on the CPU." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 embedding.mil; apple/ml-ane-transformers README"
    D7 Contested "M1 to M4" "gather_nd and gather_along_axis are listed for M4's Neural Engine, but their indices are int32 and they were seen on the CPU." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6; roboflow/rf-detr#1495"
    S1 Measured "M4, M5" "Five dimensions at most." "apple/coreai-models neural_engine_rules.md (of Core AI); sbryngelson/ANEForge"
    S2 Measured "M1, M2, M4, M5" "Spatial axes and sums of products up to 16384 before M4 and A17 Pro, 65536 from then on; channels up to 65536." "sbryngelson/ANEForge docs/cross-chip.md; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6 plan_iso_all.tsv"
    S3 Measured "M4, M6" "Sums of products up to 32768." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md"
    S5 Documented "all" "The last axis of a buffer is padded to 64 bytes; what stays on the chip may be narrower." "machinelearning.apple.com/research/neural-engine-transformers; apple/coreai-models neural_engine_rules.md"
    S9 Documented "current systems" "Ranges of sizes (RangeDim) run on CPU or GPU." "pytorch/executorch coreml-partitioner.md; FluidInference/FluidAudio ANE_Profiler.md (M5 Pro)"
    S11 Documented "iOS 15 on" "Enumerated shapes keep to the Neural Engine unless they bring dynamic operations." "apple/coremltools docs-guides faqs.md, flexible-inputs.md"
    S12 Contested "M1 Pro, macOS 15; macOS 13" "A conformer with enumerated shapes ran nothing on the Neural Engine, against what is documented." "ekhodzitsky/gigastt docs/ane-backend.md; apple/coremltools#1909"
    S14 Measured "M1 Max, M4" "Cuts and reshapes whose places are computed at prediction run on the CPU." "smpanaro/more-ane-transformers NOTES.md; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6"
    S15 Measured "M5 Pro; A15" "Batches are placed but poor value: per row 1.3 times at 8, 2.8 times at 16." "sbryngelson/ANEForge bench/results/encoder_serving_crosspath.json"
    S16 Documented "iOS; M1" "At most 1 GB of weights for a phone's Neural Engine." "apple/coremltools mlmodel-utilities.md; apple/coreai-models guidance.md"
    S18 Derived "M4, M6" "Chains of more than 350 operations come near the 384 layers where compiling failed." "from maderix/ANE part 4, 751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/defects.md A1"
    O1 Measured "M1, M4" "Convolutions run, with kernels up to 13 wide on M1 (15 from M4 and A17 Pro on), square ones up to 16." "sbryngelson/ANEForge op catalogue; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6"
    O2 Measured "M1, M4" "linear and matmul run." "sbryngelson/ANEForge op catalogue; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6"
    O3 Documented "A14, M1 on" "einsum over the last and the third last dimension runs: Apple's own attention uses it." "apple/ml-ane-transformers multihead_attention.py"
    O4 Contested "M1, M4" "The fused attention operation is listed; reports of ignored masks and failed compiles stand against it (A3, A4)." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6; sbryngelson/ANEForge docs/capabilities.md; maderix/ANE README"
    O5 Measured "M1, M4" "softmax runs along any axis." "sbryngelson/ANEForge op catalogue; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6"
    O6 Measured "M1, M4" "Normalisations run." "sbryngelson/ANEForge op catalogue; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6"
    O7 Measured "M1, M4" "Activations run." "sbryngelson/ANEForge op catalogue; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6"
    O8 Measured "M1, M4" "Arithmetic of two tensors runs, with broadcasting." "sbryngelson/ANEForge op catalogue; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6"
    O9 Measured "M1, M4" "Reductions run, but for products and running sums." "sbryngelson/ANEForge op catalogue; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6"
    O10 Measured "M4" "Indices of maxima and sorting give int32: not on the Neural Engine." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md"
    O11 Contested "M1, M3 Pro, M4" "topk is listed for M4, refused on M1 and was seen on the CPU of M3 Pro." "sbryngelson/ANEForge op catalogue; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6; roboflow/rf-detr#1495"
    O12 Measured "M1, M4" "Reshapes, transposes, concatenations and cuts at fixed places run; what they cost is another matter (L3)." "sbryngelson/ANEForge op catalogue; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6"
    O13 Measured "M1, M4" "A gather with constant indices runs." "sbryngelson/ANEForge op catalogue; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6"
    O14 Contested "M1, M4" "Comparisons and select run; logical operations are listed for M4 and refused elsewhere." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6; sbryngelson/ANEForge op catalogue"
    O15 Measured "M1, M4" "Casts between fp16 and fp32 run; no others do (D4)." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 plan_iso_all.tsv"
    O16 Measured "M1, M4" "Control flow, recurrent layers, scatters, made-up tensors and some mathematical functions are not on the Neural Engine." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md; sbryngelson/ANEForge op catalogue"
    O18 Measured "M1, M4" "quantize and dequantize to int8 run." "751K/Apple-Neural-Engine-Microarchitecture-Study-M6; sbryngelson/ANEForge op catalogue"
    A8 Derived "all" "Splitting heads pays once the scores of all heads pass 2 MiB." "from L8: arXiv 2606.22283"
    L3 Documented "all" "Transposes and reshapes that touch the last axis copy; one for each attention is enough." "machinelearning.apple.com/research/neural-engine-transformers; apple/coreai-models neural_engine_rules.md"
    L6 Documented "all (said of Core AI)" "softmax over a spatial axis can't be cut into tiles freely, over channels it can." "apple/coreai-models neural_engine_rules.md"
    W6 Documented "iOS 18 on; M5 Pro" "Scales along the input channels (blocks) keep a product off the Neural Engine: per output channel or per tensor only." "apple/coremltools docs-guides opt-quantization-perf.md; cadamcat/llms-on-apple-neural-engine coreml-grouped-scale-cpu"
    W8 Documented "iOS 18" "A palette with scales per channel needs the scales after the product." "apple/coremltools reorder_lut_per_channel_scale"
    N5 Measured "M1, M2" "Cuts that begin behind 0 on the last axis hold 4094 at most before A16." "sbryngelson/ANEForge docs/numeric-cliffs.md, op catalogue"
    N6 Documented "all" "Masks must be finite: infinity is a number there. -10000 also stays clear of the accumulator's 32768." "apple/ml-ane-transformers; apple/coreai-models neural_engine_rules.md"
    N7 Measured "macOS 13 and before; M1" "Normalisation: epsilons that fp16 does not hold, squares that overflow." "apple/ml-ane-transformers; smpanaro/more-ane-transformers compare_layer_norm_axes.py; arXiv 2606.22283"
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Rule;

    #[test]
    fn every_rule_says_something_and_from_whom() {
        let ids: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        assert_eq!(ids.len(), Rule::ALL.len());
        for rule in Rule::ALL {
            assert!(
                rule.says().ends_with('.') && !rule.source().is_empty(),
                "{}",
                rule.id()
            );
        }
    }
}
