//! One-dimensional k-means, solved exactly.
//!
//! Sorted points cut into `k` contiguous clusters, the weighted sum of squared distances to the clusters' means being
//! least. That sum for points `i..j` obeys the quadrangle inequality, so the best cuts are a shortest path of `k`
//! links in a concave Monge graph (Aggarwal, Schieber, Tokuyama: *Finding a minimum-weight k-link path in graphs with
//! the concave Monge property*, 1994). Two facts from there make it fast:
//!
//! - With a price `λ` per link instead of a fixed number of links, the path is found in one sweep
//!   ([`Points::priced`]). The dearer the links, the fewer of them.
//! - Paths of `k` and of `q` links can be chosen to interlace: of `k = q + d`, cut `j` lies between cuts `j − d` and `j`
//!   of the other. A sweep that gives nearly `k` links therefore leaves each cut a narrow window, in which dynamic
//!   programming finds the optimum.

/// Distinct points in ascending order with their weights, ready to be cut.
#[derive(Debug)]
pub(crate) struct Points {
    /// Running sums of weight, weight·x and weight·x² before each point, x measured from the weighted mean.
    sums: Vec<[f64; 3]>,
    center: f64,
    spread: f64,
}

/// Most sweeps spent on finding a price.
const SWEEPS: usize = 12;

impl Points {
    /// `values` ascending and distinct, `weights` positive.
    pub(crate) fn new(values: &[f64], weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let center =
            values.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>() / total.max(f64::MIN_POSITIVE);
        let mut sums = Vec::with_capacity(values.len() + 1);
        let mut sum = [0.0; 3];
        sums.push(sum);
        for (x, w) in values.iter().zip(weights) {
            let x = x - center;
            sum = [sum[0] + w, sum[1] + w * x, sum[2] + w * x * x];
            sums.push(sum);
        }
        Self {
            sums,
            center,
            spread: values.last().zip(values.first()).map_or(0.0, |(b, a)| b - a),
        }
    }

    fn len(&self) -> usize {
        self.sums.len() - 1
    }

    /// Squared distances of points `from..to` to their mean.
    #[inline(always)]
    fn cost(&self, from: usize, to: usize) -> f64 {
        let (a, b) = (&self.sums[from], &self.sums[to]);
        let (w, x, xx) = (b[0] - a[0], b[1] - a[1], b[2] - a[2]);
        // Rounding may leave a tiny negative rest; clamping it would break ties in favour of single points.
        xx - x * x / w
    }

    /// The means of the best `k` clusters, ascending; one per point when there are no more than `k`.
    pub(crate) fn means(&self, k: usize) -> Vec<f64> {
        let cuts = self.cuts(k);
        cuts.windows(2)
            .map(|cut| {
                let (a, b) = (self.sums[cut[0]], self.sums[cut[1]]);
                self.center + (b[1] - a[1]) / (b[0] - a[0])
            })
            .collect()
    }

    /// The borders of the best `k` clusters, from 0 to the number of points.
    pub(crate) fn cuts(&self, k: usize) -> Vec<usize> {
        let n = self.len();
        if k >= n {
            return (0..=n).collect();
        }
        if k <= 1 {
            return vec![0, n];
        }
        let near = self.near(k);
        if near.len() == k + 1 {
            return near;
        }
        self.within(&near, k)
    }

    /// The cuts of a price that gives `k` links or nearly so.
    fn near(&self, k: usize) -> Vec<usize> {
        let mut price = self.first_price(k);
        let (mut cheap, mut dear) = (0.0, f64::INFINITY);
        let mut best: Option<Vec<usize>> = None;
        for _ in 0..SWEEPS {
            let cuts = self.priced(price);
            let links = cuts.len() - 1;
            let off = links.abs_diff(k);
            if links > k {
                cheap = f64::max(cheap, price);
            } else {
                dear = f64::min(dear, price);
            }
            if best
                .as_ref()
                .is_none_or(|best| off < (best.len() - 1).abs_diff(k))
            {
                best = Some(cuts);
            }
            // A window a link or two wide costs less than another sweep.
            if off <= 1 + k / 64 {
                break;
            }
            // What a link saves falls with the cube of their number.
            let guess = price * (links as f64 / k as f64).powi(3);
            price = if guess > cheap && guess < dear {
                guess
            } else if dear.is_finite() {
                (cheap.max(dear * 1e-9) * dear).sqrt()
            } else {
                guess.max(cheap * 8.0)
            };
        }
        best.unwrap_or_else(|| vec![0, self.len()])
    }

    /// High-rate theory: the error with k levels is (∫ p^⅓)³ / 12k², so a further level saves a (2/k)-th of it.
    fn first_price(&self, k: usize) -> f64 {
        const BINS: usize = 64;
        let n = self.len();
        let mut mass = [0.0; BINS];
        let width = self.spread / BINS as f64;
        let mut last = [0.0; 3];
        let first = self.sums[1][1] / self.sums[1][0];
        for sum in &self.sums[1..=n] {
            let (w, x) = (sum[0] - last[0], (sum[1] - last[1]) / (sum[0] - last[0]));
            let bin = ((x - first) / width) as usize;
            mass[bin.min(BINS - 1)] += w;
            last = *sum;
        }
        let integral: f64 = mass.iter().map(|mass| (mass / width).cbrt() * width).sum();
        let k = k as f64;
        integral.powi(3) / (6.0 * k * k * k)
    }

    /// The cuts that are best when each cluster costs `price` more.
    fn priced(&self, price: f64) -> Vec<usize> {
        struct Candidate {
            from: usize,
            /// First end this candidate is the best for.
            first: usize,
        }
        let n = self.len();
        let mut best = vec![0.0; n + 1];
        let mut back = vec![0u32; n + 1];
        let mut queue: Vec<Candidate> = Vec::with_capacity(64);
        let mut head = 0;
        queue.push(Candidate { from: 0, first: 1 });
        for end in 1..=n {
            while head + 1 < queue.len() && queue[head + 1].first <= end {
                head += 1;
            }
            let from = queue[head].from;
            best[end] = best[from] + self.cost(from, end) + price;
            back[end] = from as u32;
            if end == n {
                break;
            }
            // From where on cutting at `end` beats what is queued: later candidates win later ends.
            let wins = |from: usize, at: usize, best: &[f64]| {
                best[end] + self.cost(end, at) <= best[from] + self.cost(from, at)
            };
            while let Some(last) = queue.last()
                && queue.len() > head + 1
                && last.first > end
                && wins(last.from, last.first, &best)
            {
                queue.pop();
            }
            let Some(last) = queue.last() else { break };
            // Gallop, then halve: the place is rarely far.
            let mut low = last.first.max(end + 1);
            if wins(last.from, low, &best) {
                queue.push(Candidate {
                    from: end,
                    first: low,
                });
                continue;
            }
            let mut step = 1;
            let mut high = low;
            loop {
                high += step;
                if high > n || wins(last.from, high, &best) {
                    break;
                }
                low = high;
                step *= 2;
            }
            let mut high = high.min(n + 1);
            if high == n + 1 && !wins(last.from, n, &best) {
                continue;
            }
            while high - low > 1 {
                let middle = low.midpoint(high);
                if middle <= n && wins(last.from, middle, &best) {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            queue.push(Candidate {
                from: end,
                first: high,
            });
        }
        let mut cuts = vec![n];
        let mut at = n;
        while at > 0 {
            at = back[at] as usize;
            cuts.push(at);
        }
        cuts.reverse();
        cuts
    }

    /// The best `k` clusters, given the cuts of the best of another number.
    fn within(&self, near: &[usize], k: usize) -> Vec<usize> {
        let n = self.len();
        let links = near.len() - 1;
        let at = |index: isize| match usize::try_from(index) {
            Err(_) => 0,
            Ok(index) => near.get(index).copied().unwrap_or(n),
        };
        // Of k links, cut j lies between cuts j − (k − links) and j of fewer, or j and j + (links − k) of more.
        let off = k as isize - links as isize;
        let window = |j: usize| {
            let j_near = j as isize;
            let (low, high) = if off >= 0 {
                (j_near - off, j_near)
            } else {
                (j_near, j_near - off)
            };
            (at(low).max(j), at(high).min(n - (k - j)))
        };
        let mut backs: Vec<(usize, Vec<u32>)> = Vec::with_capacity(k);
        let (mut start, mut costs) = (0, vec![0.0]);
        for j in 1..=k {
            let (low, high) = if j == k { (n, n) } else { window(j) };
            let mut layer = Layer {
                points: self,
                start,
                costs: &costs,
                low,
                best: vec![f64::INFINITY; high - low + 1],
                back: vec![0; high - low + 1],
            };
            layer.fill(low, high, start, start + costs.len() - 1);
            let Layer { best, back, .. } = layer;
            backs.push((low, back));
            (start, costs) = (low, best);
        }
        let mut cuts = vec![n];
        let mut at = n;
        for (low, back) in backs.iter().rev() {
            at = back[at - low] as usize;
            cuts.push(at);
        }
        cuts.reverse();
        cuts
    }
}

/// One layer of the dynamic program: the best costs of cutting before each end in a window.
struct Layer<'a> {
    points: &'a Points,
    /// The window of the cut before, and what it costs to be there.
    start: usize,
    costs: &'a [f64],
    low: usize,
    best: Vec<f64>,
    back: Vec<u32>,
}

impl Layer<'_> {
    /// Fills ends `low..=high`, whose best cuts before lie within `from..=to`: the best cut of a middle end parts
    /// those of the others.
    fn fill(&mut self, low: usize, high: usize, from: usize, to: usize) {
        let end = low.midpoint(high);
        let (mut best, mut cut) = (f64::INFINITY, from);
        for candidate in from..=to.min(end - 1) {
            let cost = self.costs[candidate - self.start] + self.points.cost(candidate, end);
            if cost < best {
                (best, cut) = (cost, candidate);
            }
        }
        self.best[end - self.low] = best;
        self.back[end - self.low] = cut as u32;
        if low < end {
            self.fill(low, end - 1, from, cut);
        }
        if end < high {
            self.fill(end + 1, high, cut, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The textbook recurrence over all cuts, with costs summed point by point.
    fn brute_force(values: &[f64], weights: &[f64], k: usize) -> f64 {
        let n = values.len();
        let cost = |from: usize, to: usize| {
            let total: f64 = weights[from..to].iter().sum();
            let mean: f64 = (from..to).map(|i| values[i] * weights[i]).sum::<f64>() / total;
            (from..to)
                .map(|i| weights[i] * (values[i] - mean).powi(2))
                .sum::<f64>()
        };
        let mut best = vec![f64::INFINITY; n + 1];
        best[0] = 0.0;
        for _ in 0..k.min(n) {
            let mut next = vec![f64::INFINITY; n + 1];
            for (end, next) in next.iter_mut().enumerate().skip(1) {
                for (from, best) in best.iter().enumerate().take(end) {
                    *next = next.min(best + cost(from, end));
                }
            }
            best = next;
        }
        best[n]
    }

    fn error(values: &[f64], weights: &[f64], cuts: &[usize]) -> f64 {
        cuts.windows(2)
            .map(|cut| {
                let range = cut[0]..cut[1];
                let total: f64 = weights[range.clone()].iter().sum();
                let mean: f64 = range.clone().map(|i| values[i] * weights[i]).sum::<f64>() / total;
                range
                    .map(|i| weights[i] * (values[i] - mean).powi(2))
                    .sum::<f64>()
            })
            .sum()
    }

    fn check(mut values: Vec<f64>, weights: &[f64], k: usize) {
        values.sort_by(f64::total_cmp);
        values.dedup();
        let weights = &weights[..values.len()];
        let cuts = Points::new(&values, weights).cuts(k);
        assert_eq!(cuts.len() - 1, k.min(values.len()).max(1), "{cuts:?}");
        assert!(cuts.windows(2).all(|cut| cut[0] < cut[1]), "{cuts:?}");
        let (found, best) = (error(&values, weights, &cuts), brute_force(&values, weights, k));
        // Running sums hold 53 bits of the whole, so that much of it is what a difference can be told to.
        let whole: f64 = values.iter().zip(weights).map(|(x, w)| w * x * x).sum();
        assert!(
            found <= best * (1.0 + 1e-9) + whole * 1e-14,
            "{found} is not {best}: {cuts:?} of {values:?}"
        );
    }

    proptest! {
        #[test]
        fn as_good_as_trying_every_cut(
            values in prop::collection::vec(-1.0f64..1.0, 1..90),
            weights in prop::collection::vec(0.01f64..10.0, 90),
            k in 1usize..40,
        ) {
            check(values, &weights, k);
        }

        /// Equal distances make many cuts equally good.
        #[test]
        fn as_good_among_ties(
            values in prop::collection::vec((-40i32..40).prop_map(f64::from), 1..70),
            weights in prop::collection::vec((1u8..4).prop_map(f64::from), 70),
            k in 1usize..20,
        ) {
            check(values, &weights, k);
        }

        /// Heavy tails, as weights of real models have.
        #[test]
        fn as_good_with_outliers(
            values in prop::collection::vec((-3.0f64..3.0).prop_map(|x| x.powi(7)), 20..120),
            weights in prop::collection::vec(1.0f64..2.0, 120),
            k in 2usize..64,
        ) {
            check(values, &weights, k);
        }
    }

    #[test]
    fn means_of_points_in_clear_clusters() {
        let points = Points::new(&[-1.0, -0.9, 5.0, 5.5, 9.0], &[1.0, 3.0, 1.0, 1.0, 1.0]);
        let means = points.means(3);
        assert_eq!(means.len(), 3);
        for (mean, expected) in means.iter().zip([-0.925, 5.25, 9.0]) {
            assert!((mean - expected).abs() < 1e-12, "{means:?}");
        }
    }
}
