//! The command line of `nightjar schedule`.

use clap::{Args, Subcommand};
use nightjar_core::money::Currency;
use nightjar_core::schedule::Exception;
use nightjar_core::tariff::TariffWindow;
use nightjar_core::week::{WallDate, Window};

use crate::arguments::HostPlace;
use crate::quantity::price_micros;

use super::schedule::Wall;

#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Show the hours, the tariff, and what holds now
    Show(HostPlace),
    /// Change the hours
    ///
    /// What is given replaces what was there of its kind; the rest stays. Hours are those of the clock on the wall; an
    /// end that is not later than the beginning lies on the next day, and belongs to the day on which it began.
    Set(Box<ScheduleSet>),
    /// Say what holds at a local time, why, and when that changes
    Test(ScheduleTest),
    /// Tell what electricity costs
    ///
    /// Prices are in the currency in which you are paid. They make a job's net, and the price below which no job is
    /// taken because it would cost more than it brings.
    Tariff(TariffSet),
    /// Tell what an hour of a card costs at least, and in which currency
    ///
    /// A market keeps its books in one currency, and takes no card that is offered in another.
    Price(PriceSet),
}

#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  nightjar schedule set --open \"mon-fri 22:00-08:00\" --open \"sat,sun 00:00-24:00\"
  nightjar schedule set --closed-on 2026-12-24 --on \"2026-12-31 10:00-12:00\"
  nightjar schedule set --even-if-here \"daily 00:00-24:00\"     a second PC
  nightjar schedule set --cheap-below 0.50
  nightjar schedule set --always")]
pub struct ScheduleSet {
    #[command(flatten)]
    pub place: HostPlace,
    /// Hours in which to earn, e.g. "mon-fri 22:00-08:00", "sat,sun 00:00-24:00" or "daily 01:00-07:00"
    #[arg(long, value_name = "DAYS HOURS", value_parser = window)]
    pub open: Vec<Window>,
    /// Hours in which to earn even if somebody is here; games and full screen still count
    #[arg(long, value_name = "DAYS HOURS", value_parser = window)]
    pub even_if_here: Vec<Window>,
    /// A date on which to earn nothing
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    pub closed_on: Vec<WallDate>,
    /// A date with hours of its own
    #[arg(long, value_name = "YYYY-MM-DD HOURS", value_parser = exception)]
    pub on: Vec<Exception>,
    /// Forget what was set for a date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    pub forget: Vec<WallDate>,
    /// Only while a kilowatt-hour costs less than this
    #[arg(long, value_name = "PRICE", value_parser = price_micros)]
    pub cheap_below: Option<i64>,
    /// At any price of electricity
    #[arg(long, conflicts_with = "cheap_below")]
    pub any_price: bool,
    /// Forget all hours and dates first: every hour is open
    #[arg(long)]
    pub always: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar schedule test --at 23:30
  nightjar schedule test --at \"2026-12-24 23:30\"")]
pub struct ScheduleTest {
    #[command(flatten)]
    pub place: HostPlace,
    /// Local time, of today or of a date
    #[arg(long, value_name = "TIME", value_parser = Wall::parse)]
    pub at: Wall,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar schedule tariff --flat 0.60 --overhead 40
  nightjar schedule tariff --flat 0.60 --window \"daily 22:00-08:00 0.30\"")]
pub struct TariffSet {
    #[command(flatten)]
    pub place: HostPlace,
    /// Price of a kilowatt-hour outside of all windows; forgets the windows that were set before
    #[arg(long, value_name = "PRICE", value_parser = price_micros)]
    pub flat: Option<i64>,
    /// Hours with a price of their own; of two that fit, the first holds
    #[arg(long, value_name = "DAYS HOURS PRICE", value_parser = tariff_window)]
    pub window: Vec<TariffWindow>,
    /// What the rest of the PC draws because a job runs, in watts
    #[arg(long, value_name = "WATTS")]
    pub overhead: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar schedule price --least 0.20 --currency EUR
  nightjar schedule price --least 1.50")]
pub struct PriceSet {
    #[command(flatten)]
    pub place: HostPlace,
    /// For less an hour no job is taken
    #[arg(long, value_name = "PRICE", value_parser = price_micros)]
    pub least: Option<i64>,
    /// Of this price and of the tariff, e.g. EUR; figures that are not given anew stay as they are
    #[arg(long, value_name = "CODE", value_parser = currency)]
    pub currency: Option<Currency>,
}

fn currency(text: &str) -> Result<Currency, String> {
    Currency::new(text).map_err(|error| error.to_string())
}

fn window(text: &str) -> Result<Window, String> {
    text.parse().map_err(|error: nightjar_core::week::WeekError| error.to_string())
}

fn date(text: &str) -> Result<WallDate, String> {
    text.parse().map_err(|error: nightjar_core::week::WeekError| error.to_string())
}

/// `2026-12-31 10:00-12:00`.
pub fn exception(text: &str) -> Result<Exception, String> {
    let (day, hours) = text.trim().split_once(' ').ok_or("a date and hours are wanted")?;
    let hours = hours.trim().parse().map_err(|error: nightjar_core::week::WeekError| error.to_string())?;
    Ok(Exception { date: date(day)?, windows: vec![hours] })
}

fn tariff_window(text: &str) -> Result<TariffWindow, String> {
    let (hours, price) = text.trim().rsplit_once(' ').ok_or("days, hours and a price are wanted")?;
    let Window { days, from, to } = window(hours)?;
    Ok(TariffWindow { days, from, to, price_per_kwh_micros: price_micros(price)? })
}
