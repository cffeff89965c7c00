//! The performance counters of Windows on programs and the cards' engines. They wake no card.
#![expect(unsafe_code, reason = "calls into pdh")]

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::Performance::{
    PDH_FMT, PDH_FMT_COUNTERVALUE_ITEM_W, PDH_FMT_DOUBLE, PDH_FMT_LARGE, PDH_HCOUNTER, PDH_HQUERY,
    PDH_MORE_DATA, PdhAddEnglishCounterW, PdhCloseQuery, PdhCollectQueryData, PdhGetFormattedCounterArrayW,
    PdhOpenQueryW,
};
use windows_sys::core::{PCWSTR, PWSTR};
use windows_sys::w;

use crate::engines::EngineUse;

/// No PC has so much to say; a size beyond it is a fault of the system's.
const MOST_BYTES: u32 = 16 << 20;

/// An open query. Each look tells the use since the one before it; the first tells memory alone.
pub struct EngineCounters {
    query: PDH_HQUERY,
    engines: PDH_HCOUNTER,
    memory: PDH_HCOUNTER,
}

// SAFETY: the handles belong to no thread, and are used by one at a time since every use takes `&mut self`.
unsafe impl Send for EngineCounters {}

impl EngineCounters {
    /// # Errors
    /// When this Windows has no such counters: they came with version 1709 of Windows 10.
    pub fn open() -> io::Result<Self> {
        let mut query = ptr::null_mut();
        // SAFETY: no source is the running system; the handle is written to a place that lives through the call.
        done(unsafe { PdhOpenQueryW(ptr::null(), 0, &raw mut query) })?;
        let mut counters = Self { query, engines: ptr::null_mut(), memory: ptr::null_mut() };
        counters.engines = counters.add(w!(r"\GPU Engine(*)\Utilization Percentage"))?;
        counters.memory = counters.add(w!(r"\GPU Process Memory(*)\Dedicated Usage"))?;
        // Use is told from two looks.
        // SAFETY: the query is open.
        done(unsafe { PdhCollectQueryData(counters.query) })?;
        Ok(counters)
    }

    fn add(&self, path: PCWSTR) -> io::Result<PDH_HCOUNTER> {
        let mut counter = ptr::null_mut();
        // SAFETY: the query is open, the path a constant, the handle's place lives through the call.
        done(unsafe { PdhAddEnglishCounterW(self.query, path, 0, &raw mut counter) })?;
        Ok(counter)
    }

    /// # Errors
    /// When the system does not tell; it may the next time.
    pub fn look(&mut self) -> io::Result<EngineUse> {
        // SAFETY: the query is open.
        done(unsafe { PdhCollectQueryData(self.query) })?;
        let mut all = EngineUse::default();
        values(self.engines, PDH_FMT_DOUBLE, |instance, item| {
            // SAFETY: the format that was asked for says which part of the union is set.
            all.engine(instance, unsafe { item.FmtValue.Anonymous.doubleValue });
        })?;
        values(self.memory, PDH_FMT_LARGE, |instance, item| {
            // SAFETY: as above.
            let bytes = unsafe { item.FmtValue.Anonymous.largeValue };
            all.memory(instance, u64::try_from(bytes).unwrap_or(0));
        })?;
        Ok(all)
    }
}

impl Drop for EngineCounters {
    fn drop(&mut self) {
        // SAFETY: the query is open, and its counters go with it.
        unsafe { PdhCloseQuery(self.query) };
    }
}

fn values(
    counter: PDH_HCOUNTER,
    format: PDH_FMT,
    mut each: impl FnMut(&str, &PDH_FMT_COUNTERVALUE_ITEM_W),
) -> io::Result<()> {
    let (mut bytes, mut count) = (0, 0);
    // SAFETY: without a buffer only the two sizes are written.
    let sized = unsafe {
        PdhGetFormattedCounterArrayW(counter, format, &raw mut bytes, &raw mut count, ptr::null_mut())
    };
    if sized != PDH_MORE_DATA {
        return done(sized);
    }
    if bytes > MOST_BYTES {
        return Err(io::Error::other(format!("the counters would take {bytes} bytes")));
    }
    let item_bytes = size_of::<PDH_FMT_COUNTERVALUE_ITEM_W>();
    let room = usize::try_from(bytes).map_err(io::Error::other)?.div_ceil(item_bytes);
    // The names lie behind the items, in the same buffer.
    let mut items = vec![PDH_FMT_COUNTERVALUE_ITEM_W::default(); room];
    // SAFETY: the buffer has at least the bytes that it is said to have, aligned for its items.
    done(unsafe {
        PdhGetFormattedCounterArrayW(counter, format, &raw mut bytes, &raw mut count, items.as_mut_ptr())
    })?;
    let count = usize::try_from(count).map_err(io::Error::other)?.min(room);
    for item in &items[..count] {
        if item.FmtValue.CStatus == ERROR_SUCCESS {
            // SAFETY: the name of an item is a string with a zero at its end, in the buffer that `items` keeps.
            each(&unsafe { text(item.szName) }, item);
        }
    }
    Ok(())
}

/// # Safety
/// `start` is null or shows to a string with a zero at its end.
unsafe fn text(start: PWSTR) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: the string reaches to its zero.
    let units = (0..).map(|place| unsafe { *start.add(place) }).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn done(status: u32) -> io::Result<()> {
    if status == ERROR_SUCCESS {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "Windows does not tell what its programs do on the card (code {status:#010x})"
    )))
}
