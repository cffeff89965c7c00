//! The product that the card is asked for, and what it has to be.

/// The kernel as text, which the card's own driver compiles.
pub const PTX: &str = include_str!("matmul.ptx");
pub const KERNEL: &str = "nightjar_matmul_f32";
/// Rows and columns.
pub const SIZE: u32 = 256;
/// Threads of a block in each direction.
pub const BLOCK: u32 = 16;

/// Two matrices of small whole numbers, whose product is exact in 32-bit floats in whatever order it is summed.
pub fn matrices() -> (Vec<f32>, Vec<f32>) {
    let size = SIZE as usize;
    let small = |index: usize, step: usize| ((index * step + index / size) % 17) as i16 - 8;
    let a = (0..size * size).map(|index| f32::from(small(index, 7))).collect();
    let b = (0..size * size).map(|index| f32::from(small(index, 11))).collect();
    (a, b)
}

/// Their product, by the processor.
pub fn product(a: &[f32], b: &[f32]) -> Vec<f32> {
    let size = SIZE as usize;
    let mut product = vec![0.0; size * size];
    for (row, sums) in a.chunks_exact(size).zip(product.chunks_exact_mut(size)) {
        for (factor, line) in row.iter().zip(b.chunks_exact(size)) {
            for (sum, value) in sums.iter_mut().zip(line) {
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
    fn matrices_differ_from_each_other_and_their_transposes() {
        let (a, b) = matrices();
        assert_ne!(a, b);
        let ab = product(&a, &b);
        assert_ne!(ab, product(&b, &a));
        let largest = ab.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!(largest > 100.0 && largest < 16_777_216.0, "{largest}");
    }

    #[test]
    fn kernel_is_in_its_text() {
        assert!(PTX.contains(&format!(".entry {KERNEL}(")));
        assert!(!PTX.contains('\0'));
    }
}
