use nightjar_core::gpu::GpuReading;
use nightjar_core::history::Spread;

use super::*;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// A midnight, UTC.
const START: Timestamp = Timestamp(1_767_225_600_000);

fn reading(celsius: f64, watts: Option<f64>) -> GpuReading {
    GpuReading {
        name: "a card".into(),
        temperature_celsius: Some(celsius),
        power_watts: watts,
        vram_used_bytes: 3 << 30,
        ..GpuReading::unread(GpuUuid("GPU-0".into()))
    }
}

async fn store() -> (tempfile::TempDir, History) {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open(folder.path()).await.unwrap();
    (folder, history)
}

fn flat(value: f64) -> Option<Spread> {
    Some(Spread { min: value, mean: value, max: value })
}

#[tokio::test]
async fn what_was_read_is_answered_at_once_and_survives_a_restart() {
    let (folder, mut history) = store().await;
    for second in 0..10_u64 {
        history.take(&reading(40.0 + second as f64, None), START.plus_ms(second * 1_000));
    }
    let asleep = GpuReading { asleep: true, ..reading(90.0, None) };
    history.take(&asleep, START.plus_ms(10_000));
    let now = START.plus_ms(10_000);
    let cards = history.query(START, now, 100, now).await.unwrap();
    assert_eq!((cards.len(), cards[0].name.as_str(), cards[0].span_ms), (1, "a card", 1_000));
    let points = &cards[0].points;
    assert_eq!((points.len(), points[3].at), (10, START.plus_ms(3_000)));
    assert_eq!((points[3].temperature_celsius, points[3].power_watts), (flat(43.0), None));
    assert_eq!((points[3].vram_used_mib, points[3].utilisation_percent), (flat(3072.0), None));
    // The same step, written in two parts and by two runs of the program.
    history.close(now).await;
    let mut history = History::open(folder.path()).await.unwrap();
    history.take(&reading(100.0, Some(300.0)), START.plus_ms(10_000));
    let cards = history.query(START, START.plus_ms(60_000), 1, now).await.unwrap();
    let minute = &cards[0].points[0];
    assert_eq!(minute.temperature_celsius, Some(Spread { min: 40.0, mean: 49.55, max: 100.0 }));
    assert_eq!(minute.power_watts, flat(300.0));
}

#[tokio::test]
async fn old_steps_grow_coarser_and_hours_stay() {
    let (_folder, mut history) = store().await;
    // Two days, a reading each minute; warm by day, cool by night.
    let mut now = START;
    while now.since_ms(START) < 2 * DAY {
        let hour = now.since_ms(START) / HOUR % 24;
        history.take(&reading(if hour < 12 { 70.0 } else { 30.0 }, Some(100.0)), now);
        history.write_if_due(now).await.unwrap();
        now = now.plus_ms(60_000);
    }
    let rows = |history: &History, level: i64| {
        let pool = history.pool.clone();
        async move {
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM history WHERE level = ?")
                .bind(level)
                .fetch_one(&pool)
                .await
                .unwrap();
            count
        }
    };
    history.write(now).await.unwrap();
    assert!(rows(&history, 0).await <= 61, "seconds are kept for an hour");
    assert_eq!((rows(&history, 1).await, rows(&history, 3).await), (2_880, 48));
    let days = history.query(START, START.plus_ms(2 * DAY), 2, now).await.unwrap();
    let means: Vec<_> = days[0].points.iter().map(|point| point.temperature_celsius).collect();
    assert_eq!(means.len(), 2);
    let day = means[1].unwrap();
    assert!((day.mean - 50.0).abs() < 0.1 && (day.min, day.max) == (30.0, 70.0), "{day:?}");

    // Forty days on the minutes are gone, and the hours are there.
    let later = START.plus_ms(42 * DAY);
    history.take(&reading(20.0, None), later);
    history.write(later).await.unwrap();
    assert_eq!((rows(&history, 1).await, rows(&history, 3).await), (1, 49));
    let old = history.query(START, START.plus_ms(DAY), 500, later).await.unwrap();
    assert_eq!((old[0].points.len(), old[0].span_ms), (24, HOUR));
}

#[tokio::test]
async fn never_more_points_than_asked() {
    let (_folder, mut history) = store().await;
    for second in 0..600_u64 {
        history.take(&reading(50.0, None), START.plus_ms(second * 1_000));
    }
    let now = START.plus_ms(600_000);
    for points in [1, 7, 100, 599, 100_000] {
        let answer = history.query(START.plus_ms(1_500), now, points, now).await.unwrap();
        assert!(answer[0].points.len() <= points as usize, "{points}");
        assert!(!answer[0].points.is_empty());
    }
}
