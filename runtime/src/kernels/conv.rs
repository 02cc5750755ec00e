//! `conv`: weights times the columns of activations; a kernel of size 1 takes them where they lie.

use super::linear::{Item, Pack, Panels, Products, bias, operand};
use super::{Fault, Io, Kernel};
use crate::gemm::{Bias, Epilogue, Layout, Side, Split, panel_words};
use crate::plan::{Emit, Op, Reason};
use crate::view::{Nest, View, count, row_major};

/// How windows lie on one spatial axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    input: usize,
    kernel: usize,
    output: usize,
    stride: usize,
    dilation: usize,
    /// Padding before the first element.
    before: usize,
}

impl Axis {
    /// Whether windows are the elements themselves.
    fn is_plain(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.before == 0 && self.input == self.output
    }

    /// The element that tap `tap` of window `window` falls on, if it is not padding.
    fn element(&self, window: usize, tap: usize) -> Option<usize> {
        (window * self.stride + tap * self.dilation)
            .checked_sub(self.before)
            .filter(|position| *position < self.input)
    }
}

/// Reads the window parameters of a call the op table has accepted.
fn axes(op: &Op<'_>, x: &View, kernel: &[usize]) -> Result<Vec<Axis>, Reason> {
    let spatial = kernel.len();
    let read = |name: &str| -> Result<Vec<usize>, Reason> {
        match op.call.ints(name)? {
            None => Ok(vec![1; spatial]),
            Some(values) => values
                .iter()
                .map(|value| {
                    usize::try_from(*value).map_err(|_| Reason::Invalid(format!("`{name}` holds {value}")))
                })
                .collect(),
        }
    };
    let (strides, dilations) = (read("strides")?, read("dilations")?);
    let pad_type = op.call.str_or("pad_type", "valid")?;
    let pad = match pad_type {
        "custom" => op.call.ints("pad")?,
        _ => None,
    };
    let mut axes = Vec::with_capacity(spatial);
    for axis in 0..spatial {
        let input = x.shape[2 + axis];
        let output = op.shape()[2 + axis];
        let (stride, dilation) = (strides[axis], dilations[axis]);
        let reach = (kernel[axis].saturating_sub(1))
            .saturating_mul(dilation)
            .saturating_add(1);
        let before = match pad_type {
            // As much as the windows need in all; an odd element goes after (`same`) or before (`same_lower`).
            "same" | "same_lower" => {
                let total = (output.saturating_sub(1) * stride + reach).saturating_sub(input);
                if pad_type == "same" {
                    total / 2
                } else {
                    total.div_ceil(2)
                }
            }
            _ => pad
                .as_ref()
                .and_then(|pad| usize::try_from(pad[2 * axis]).ok())
                .unwrap_or_default(),
        };
        axes.push(Axis {
            input,
            kernel: kernel[axis],
            output,
            stride,
            dilation,
            before,
        });
    }
    Ok(axes)
}

/// Writes each window's elements as a column: (batch, channels · taps, windows).
#[derive(Debug)]
struct Windows {
    axes: Vec<Axis>,
    offset: usize,
    /// Elements of one channel of one batch entry in `x`, which is row-major.
    plane: usize,
}

impl Kernel for Windows {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let x = io.inputs[0];
        let kernels: Vec<usize> = self.axes.iter().map(|axis| axis.kernel).collect();
        let outputs: Vec<usize> = self.axes.iter().map(|axis| axis.output).collect();
        let inputs: Vec<usize> = self.axes.iter().map(|axis| axis.input).collect();
        let strides = row_major(&inputs);
        let (taps, windows) = (count(&kernels), count(&outputs));
        if windows == 0 {
            return Ok(());
        }
        io.team.pieces(io.output, windows, |line, out| {
            let (plane, tap) = (line / taps, line % taps);
            let start = self.offset + plane * self.plane;
            for (window, word) in out.iter_mut().enumerate() {
                let (mut tap, mut window) = (tap, window);
                let mut at = Some(start);
                for (axis, stride) in self.axes.iter().zip(&strides).rev() {
                    let element = axis.element(window % axis.output, tap % axis.kernel);
                    at = at
                        .zip(element)
                        .map(|(at, element)| at + element * *stride as usize);
                    tap /= axis.kernel;
                    window /= axis.output;
                }
                *word = at.map_or(0, |at| x[at]);
            }
        });
        Ok(())
    }
}

/// `x[N, C, ..]`, `weight[O, C / groups, ..]`, `bias[O]`.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let weight = op.call.tensor("weight")?.known_shape().unwrap_or_default();
    let weight: Vec<usize> = weight
        .iter()
        .map(|size| usize::try_from(*size).unwrap_or(usize::MAX))
        .collect();
    let groups = usize::try_from(op.call.int_or("groups", 1)?).unwrap_or(1);
    let (batch, outputs) = (x.shape[0], op.shape()[1]);
    let axes = axes(op, &x, &weight[2..])?;
    let windows = count(&op.shape()[2..]);
    let k = count(&weight[1..]);
    let (rows, depth) = (outputs / groups, x.shape[1]);

    // Columns: where the activations lie, or gathered window by window.
    let columns = if axes.iter().all(Axis::is_plain) {
        let nest = Nest::new(&x.shape[2..], &[&x.strides[2..]]);
        let x = if nest.sizes.len() == 1 {
            x
        } else {
            emit.contiguous(&x)?
        };
        let stride = Nest::new(&x.shape[2..], &[&x.strides[2..]]).inner_stride(0);
        View {
            shape: vec![batch, depth, windows],
            strides: vec![x.strides[0], x.strides[1], if windows == 1 { 1 } else { stride }],
            ..x
        }
    } else {
        let x = emit.contiguous(&x)?;
        let taps = count(&weight[2..]);
        let lines = depth
            .checked_mul(taps)
            .ok_or_else(|| Reason::Invalid("the kernel is too large".into()))?;
        let kernel = Windows {
            offset: x.offset,
            plane: count(&x.shape[2..]),
            axes,
        };
        let words = [batch, lines, windows]
            .iter()
            .try_fold(1usize, |count, size| count.checked_mul(*size));
        emit.take(words.unwrap_or(usize::MAX) / 4)?;
        emit.step(kernel, &[&x], &[batch, lines, windows], x.dtype)?
    };

    let layout = Layout {
        offset: columns.offset,
        rows: k,
        columns: windows,
        row_stride: columns.strides[1],
        column_stride: columns.strides[2],
    };
    let starts = (0..batch * groups)
        .map(|item| {
            let (entry, group) = (item / groups, item % groups);
            columns.offset.wrapping_add_signed(
                entry as isize * columns.strides[0] + (group * k) as isize * columns.strides[1],
            )
        })
        .collect();
    let pack = Pack {
        side: Side::Right,
        layout,
        starts,
        flush: emit.accumulator(op.dtype()).flush,
    };
    let form = if groups == 1 {
        "right panels"
    } else {
        "right panels by group"
    };
    let words = pack.words();
    let right = emit.derived(&columns, form, &[words], || pack)?;

    let bias = bias(op, emit)?;
    let (accumulator, round) = (emit.accumulator(op.dtype()), emit.rounds(op.dtype()));
    let mut items = Vec::new();
    let mut inputs = vec![right.clone()];
    for group in 0..groups {
        let rows_layout = Layout {
            offset: group * rows * k,
            rows,
            columns: k,
            row_stride: k as isize,
            column_stride: 1,
        };
        let (left, computed) = operand(op, emit, "weight", Side::Left, rows_layout)?;
        let left = match left {
            Panels::Input(_, start) => Panels::Input(inputs.len(), start),
            constant => constant,
        };
        inputs.extend(computed);
        let bias = match &bias {
            Some(bias) if groups == 1 => Bias::Row(bias.clone()),
            Some(bias) => Bias::Row(bias[group * rows..(group + 1) * rows].into()),
            None => Bias::None,
        };
        for entry in 0..batch {
            items.push(Item {
                left: left.clone(),
                right: Panels::Input(0, (entry * groups + group) * panel_words(Side::Right, windows, k)),
                offset: (entry * outputs + group * rows) * windows,
                epilogue: Epilogue {
                    bias: bias.clone(),
                    accumulator,
                    round,
                    stages: op.stages.clone(),
                },
            });
        }
    }
    let kernel = Products {
        items,
        m: rows,
        n: windows,
        k,
        row_stride: windows,
        split: Split::Left,
    };
    let inputs: Vec<&View> = inputs.iter().collect();
    Ok(vec![emit.step(kernel, &inputs, op.shape(), op.dtype())?])
}
