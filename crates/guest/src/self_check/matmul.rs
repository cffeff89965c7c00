//! The product that the card is asked for, and what it has to be.

/// The kernel as text, which the card's own driver compiles.
pub const PTX: &str = include_str!("matmul.ptx");
pub const KERNEL: &str = "nightjar_matmul_f32";
/// Threads of a block in each direction.
pub const BLOCK: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_is_in_its_text() {
        assert!(PTX.contains(&format!(".entry {KERNEL}(")));
        assert!(!PTX.contains('\0'));
    }
}
