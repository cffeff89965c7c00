//! One rate for several gateways, which cannot borrow from each other.

/// What a gateway that asks for little is left above its use, so that its use can be seen to grow.
const HEADROOM_PERCENT: u64 = 150;

/// Shares of `total_kbit`, in the order of `used_kbit`: who uses little gets little more than that, and the others share
/// the rest evenly. All shares together never exceed the total, unless it is less than `least_kbit` for each.
#[must_use]
pub fn divide(total_kbit: u32, used_kbit: &[u32], least_kbit: u32) -> Vec<u32> {
    let mut shares = vec![0; used_kbit.len()];
    let mut order: Vec<usize> = (0..used_kbit.len()).collect();
    order.sort_by_key(|index| used_kbit[*index]);
    let mut left = u64::from(total_kbit);
    let mut waiting = u64::try_from(order.len()).unwrap_or(0);
    for index in order {
        let even = left / waiting.max(1);
        // The idle are left enough to begin with: a quarter of an even share.
        let wanted = (u64::from(used_kbit[index]) * HEADROOM_PERCENT / 100).max(even / 4);
        let share = if waiting == 1 { left } else { wanted.min(even) };
        shares[index] = u32::try_from(share).unwrap_or(u32::MAX).max(least_kbit);
        left = left.saturating_sub(share);
        waiting -= 1;
    }
    shares
}
