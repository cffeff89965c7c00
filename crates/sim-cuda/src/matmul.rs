//! The one kernel whose result is computed: the product of two square matrices of 32-bit floats.

/// Its name in the self-check's module; parameters are three device pointers (a, b, c) and the size.
pub const NAME: &str = "nightjar_matmul_f32";
/// Larger products would keep the processor for minutes.
pub const LARGEST: u32 = 2048;

/// `a` times `b`, both with `n` rows of `n` in row order.
pub fn multiply(a: &[f32], b: &[f32], n: usize) -> Vec<f32> {
    let mut product = vec![0.0; n * n];
    for (row, out) in a.chunks_exact(n).zip(product.chunks_exact_mut(n)) {
        for (factor, line) in row.iter().zip(b.chunks_exact(n)) {
            for (sum, value) in out.iter_mut().zip(line) {
                *sum += factor * value;
            }
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_product_is_right() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        assert_eq!(multiply(&a, &b, 2), [19.0, 22.0, 43.0, 50.0]);
    }
}
