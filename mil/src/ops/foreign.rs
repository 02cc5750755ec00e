//! Operations that are legal in a package but that corer neither emits, infers nor executes.
//!
//! Recurrent layers, images, control flow, lists, state, scatter, random numbers. A package with these opens,
//! checks (names, arity, opset) and prints; the types it declares for their results are trusted.
//! Held to coremltools' registry by a test.

use crate::opset::Opset;

/// One foreign operation.
#[derive(Clone, Copy, Debug)]
pub struct ForeignOp {
    /// Operation type as written in a package.
    pub name: &'static str,
    /// First opset that has it.
    pub since: Opset,
    /// Parameters.
    pub params: &'static [ForeignParam],
    /// Whether it takes parameters of any name (`custom_layer`).
    pub open: bool,
}

/// One parameter of a foreign operation.
#[derive(Clone, Copy, Debug)]
pub struct ForeignParam {
    /// Parameter name.
    pub name: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it takes several bindings.
    pub variadic: bool,
    /// First opset that has it.
    pub since: Opset,
    /// First opset that no longer has it.
    pub until: Option<Opset>,
}

impl ForeignOp {
    const fn new(name: &'static str, params: &'static [ForeignParam]) -> Self {
        Self {
            name,
            since: Opset::CoreMl5,
            params,
            open: false,
        }
    }

    const fn since(mut self, opset: Opset) -> Self {
        self.since = opset;
        self
    }

    const fn open(mut self) -> Self {
        self.open = true;
        self
    }
}

impl ForeignParam {
    const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    const fn since(mut self, opset: Opset) -> Self {
        self.since = opset;
        self
    }

    const fn until(mut self, opset: Opset) -> Self {
        self.until = Some(opset);
        self
    }

    /// Whether an operation in `opset` has it.
    pub fn exists_in(&self, opset: Opset) -> bool {
        self.since <= opset && self.until.is_none_or(|until| opset < until)
    }
}

const fn required(name: &'static str) -> ForeignParam {
    ForeignParam {
        name,
        required: true,
        variadic: false,
        since: Opset::CoreMl5,
        until: None,
    }
}

const fn optional(name: &'static str) -> ForeignParam {
    ForeignParam {
        name,
        required: false,
        variadic: false,
        since: Opset::CoreMl5,
        until: None,
    }
}

/// All foreign operations.
pub fn all_foreign() -> impl Iterator<Item = &'static ForeignOp> {
    TABLE.iter()
}

/// The foreign operation `name`, if `opset` has it.
pub fn foreign(name: &str, opset: Opset) -> Option<&'static ForeignOp> {
    TABLE.iter().find(|op| op.name == name && op.since <= opset)
}

static TABLE: &[ForeignOp] = &[
    // What coremltools writes for layers it knows nothing of; its inputs are whatever the layer takes.
    ForeignOp::new("custom_layer", &[]).open(),
    // `coreml_update_state` in Python; on disk the two halves are apart.
    ForeignOp::new("write_state", &[required("input"), required("data")]).since(Opset::CoreMl8),
    ForeignOp::new(
        "affine",
        &[
            required("x"),
            required("transform_matrix"),
            required("output_height"),
            required("output_width"),
            required("sampling_mode"),
            required("padding_mode"),
            required("padding_value"),
            required("coordinates_mode"),
            required("align_corners"),
        ],
    ),
    ForeignOp::new(
        "avg_pool",
        &[
            optional("exclude_padding_from_average"),
            required("x"),
            required("kernel_sizes"),
            optional("strides"),
            required("pad_type"),
            optional("pad"),
            optional("ceil_mode"),
        ],
    ),
    ForeignOp::new(
        "batch_to_space",
        &[required("x"), required("block_shape"), required("crops")],
    ),
    ForeignOp::new("cond", &[required("pred")]),
    ForeignOp::new(
        "conv_quantized",
        &[
            required("x"),
            required("weight"),
            optional("bias"),
            required("quantization_type"),
            optional("nbits"),
            required("quant_scale"),
            required("quant_bias"),
            optional("strides"),
            optional("pad_type"),
            optional("pad"),
            optional("dilations"),
            optional("groups"),
        ],
    ),
    ForeignOp::new(
        "conv_transpose",
        &[
            required("x"),
            required("weight"),
            optional("bias"),
            optional("pad"),
            optional("output_shape"),
            optional("pad_type"),
            optional("strides"),
            optional("dilations"),
            optional("groups"),
        ],
    ),
    ForeignOp::new(
        "crop",
        &[required("x"), required("crop_height"), required("crop_width")],
    ),
    ForeignOp::new(
        "crop_resize",
        &[
            required("x"),
            required("roi").until(Opset::CoreMl7),
            optional("target_height"),
            optional("target_width"),
            optional("normalized_coordinates"),
            optional("spatial_scale"),
            optional("box_coordinate_mode"),
            optional("sampling_mode"),
            optional("pad_value").since(Opset::CoreMl6),
            required("boxes").since(Opset::CoreMl7),
            optional("box_indices").since(Opset::CoreMl7),
        ],
    ),
    ForeignOp::new("depth_to_space", &[required("x"), required("block_size")]),
    ForeignOp::new(
        "gru",
        &[
            required("x"),
            required("initial_h"),
            required("weight_ih"),
            required("weight_hh"),
            optional("bias"),
            optional("direction"),
            optional("output_sequence"),
            optional("recurrent_activation"),
            optional("activation"),
            optional("reset_after").since(Opset::CoreMl8),
            optional("input_bias").since(Opset::CoreMl8),
        ],
    ),
    ForeignOp::new(
        "l2_pool",
        &[
            required("x"),
            required("kernel_sizes"),
            optional("strides"),
            required("pad_type"),
            optional("pad"),
            optional("ceil_mode"),
        ],
    ),
    ForeignOp::new("list_gather", &[required("ls"), required("indices")]),
    ForeignOp::new("list_length", &[required("ls")]),
    ForeignOp::new("list_read", &[required("ls"), required("index")]),
    ForeignOp::new(
        "list_scatter",
        &[required("ls"), required("indices"), required("value")],
    ),
    ForeignOp::new(
        "list_write",
        &[required("ls"), required("index"), required("value")],
    ),
    ForeignOp::new(
        "local_response_norm",
        &[
            required("x"),
            required("size"),
            optional("alpha"),
            optional("beta"),
            optional("k"),
        ],
    ),
    ForeignOp::new(
        "lstm",
        &[
            required("x"),
            required("initial_h"),
            required("initial_c"),
            required("weight_ih"),
            required("weight_hh"),
            optional("bias"),
            optional("peephole"),
            optional("weight_ih_back"),
            optional("weight_hh_back"),
            optional("bias_back"),
            optional("peephole_back"),
            optional("direction"),
            optional("output_sequence"),
            optional("recurrent_activation"),
            optional("cell_activation"),
            optional("activation"),
            optional("clip"),
        ],
    ),
    ForeignOp::new(
        "make_list",
        &[
            optional("init_length"),
            optional("dynamic_length"),
            required("elem_shape").variadic(),
            optional("dtype"),
        ],
    ),
    ForeignOp::new(
        "max_pool",
        &[
            required("x"),
            required("kernel_sizes"),
            optional("strides"),
            required("pad_type"),
            optional("pad"),
            optional("ceil_mode"),
        ],
    ),
    ForeignOp::new(
        "non_maximum_suppression",
        &[
            required("boxes"),
            required("scores"),
            required("iou_threshold"),
            required("score_threshold").until(Opset::CoreMl7),
            required("max_boxes"),
            optional("per_class_suppression"),
        ],
    ),
    ForeignOp::new("non_zero", &[required("x")]),
    ForeignOp::new("pixel_shuffle", &[required("x"), required("upscale_factor")]),
    ForeignOp::new("pixel_unshuffle", &[required("x"), required("downscale_factor")]).since(Opset::CoreMl6),
    ForeignOp::new(
        "random_bernoulli",
        &[required("shape"), optional("prob"), optional("seed")],
    ),
    ForeignOp::new(
        "random_categorical",
        &[
            required("x"),
            optional("mode"),
            optional("size"),
            optional("seed"),
        ],
    ),
    ForeignOp::new(
        "random_normal",
        &[
            required("shape"),
            optional("mean"),
            optional("stddev"),
            optional("seed"),
        ],
    ),
    ForeignOp::new(
        "random_uniform",
        &[
            required("shape"),
            optional("low"),
            optional("high"),
            optional("seed"),
        ],
    ),
    ForeignOp::new("read_state", &[required("input")]).since(Opset::CoreMl8),
    ForeignOp::new(
        "resample",
        &[
            required("x"),
            required("coordinates"),
            required("sampling_mode"),
            required("padding_mode"),
            required("padding_value"),
            required("coordinates_mode"),
            required("align_corners"),
        ],
    ),
    ForeignOp::new(
        "reshape_like",
        &[
            required("x"),
            required("ref_tensors").variadic(),
            required("begins").variadic(),
            required("ends").variadic(),
            required("end_masks").variadic(),
        ],
    )
    .since(Opset::CoreMl6),
    ForeignOp::new(
        "resize",
        &[
            required("x"),
            required("shape"),
            required("resized_dims"),
            optional("interpolation_mode"),
            optional("sampling_mode"),
        ],
    )
    .since(Opset::CoreMl7),
    ForeignOp::new(
        "resize_bilinear",
        &[
            required("x"),
            optional("target_size_height"),
            optional("target_size_width"),
            optional("sampling_mode"),
        ],
    ),
    ForeignOp::new(
        "resize_nearest_neighbor",
        &[
            required("x"),
            required("target_size_height"),
            required("target_size_width"),
        ],
    ),
    ForeignOp::new(
        "reverse_sequence",
        &[
            required("x"),
            required("lengths"),
            optional("seq_axis"),
            optional("batch_axis"),
        ],
    ),
    ForeignOp::new(
        "rnn",
        &[
            required("x"),
            required("initial_h"),
            required("weight_ih"),
            required("weight_hh"),
            optional("bias"),
            optional("direction"),
            optional("output_sequence"),
            optional("activation"),
        ],
    ),
    ForeignOp::new(
        "scatter",
        &[
            required("data"),
            required("indices"),
            required("updates"),
            optional("axis"),
            optional("mode"),
            optional("validate_indices").since(Opset::CoreMl7),
        ],
    ),
    ForeignOp::new(
        "scatter_along_axis",
        &[
            required("data"),
            required("indices"),
            required("updates"),
            optional("axis"),
            optional("mode"),
            optional("validate_indices").since(Opset::CoreMl7),
        ],
    ),
    ForeignOp::new(
        "scatter_nd",
        &[
            required("data"),
            required("indices"),
            required("updates"),
            optional("mode"),
            optional("validate_indices").since(Opset::CoreMl7),
        ],
    ),
    ForeignOp::new(
        "slice_update",
        &[
            required("x"),
            required("update"),
            required("begin"),
            required("end"),
            optional("stride"),
            optional("begin_mask"),
            optional("end_mask"),
            optional("squeeze_mask"),
        ],
    )
    .since(Opset::CoreMl8),
    ForeignOp::new(
        "sliding_windows",
        &[
            required("x"),
            required("axis"),
            required("size"),
            optional("stride"),
        ],
    ),
    ForeignOp::new(
        "space_to_batch",
        &[required("x"), required("block_shape"), required("paddings")],
    ),
    ForeignOp::new("space_to_depth", &[required("x"), required("block_size")]),
    ForeignOp::new(
        "upsample_bilinear",
        &[
            required("x"),
            optional("scale_factor_height"),
            optional("scale_factor_width"),
            optional("align_corners"),
            optional("half_pixel_centers").since(Opset::CoreMl6),
        ],
    ),
    ForeignOp::new(
        "upsample_nearest_neighbor",
        &[
            required("x"),
            optional("scale_factor_height"),
            optional("scale_factor_width"),
        ],
    ),
    ForeignOp::new("while_loop", &[required("loop_vars").variadic()]),
];
