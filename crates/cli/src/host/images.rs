//! `nightjar images`: what is fetched by the host that runs; settings also where none does.

use std::time::Duration;

use jiff::tz::TimeZone;
use nightjar_core::images::{ImageSettings, TaskKind};
use nightjar_protocol::control::{ControlAnswer, ControlRequest};
use nightjar_protocol::images::{PullLine, PulledImages};
use nightjar_protocol::view::ViewModel;
use nightjar_protocol::window::{ImageLine, Question, QuestionRefusal, Reply};
use serde_json::json;

use crate::arguments::HostPlace;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Table, printable};
use crate::quantity::spell_mib;

use super::grip::{Grip, view};
use super::images_arguments::{ImagesCommand, Kinds, Lend, Quota};
use super::schedule::{keep, open, spelled};

/// The Engine takes some GiB away in seconds, on a slow disk in a minute.
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// # Errors
/// When no host runs, or it does not do what was asked.
pub async fn images(command: &ImagesCommand, output: Output) -> Result<(), Failure> {
    match command {
        ImagesCommand::List(place) => ask(place, Question::PulledImages, output).await,
        ImagesCommand::Pull(one) => {
            ask(&one.place, Question::PullImage { name: one.name.clone() }, output).await
        }
        ImagesCommand::Free(one) => {
            ask(&one.place, Question::FreeImage { name: one.name.clone() }, output).await
        }
        ImagesCommand::Quota(quota) => set_quota(quota, output).await,
        ImagesCommand::Kinds(kinds) => set_kinds(kinds, output).await,
        ImagesCommand::Lend(lend) => set_lent(lend, output).await,
    }
}

async fn ask(place: &HostPlace, question: Question, output: Output) -> Result<(), Failure> {
    let mut grip = Grip::connect(place).await?;
    let answer = grip.ask_within(ControlRequest::Ask(question), DONE_WITHIN).await?;
    let ControlAnswer::Reply(reply) = answer else {
        return Err(Failure::failed("the host answered with something else"));
    };
    let reply = reply.map_err(|QuestionRefusal::Failed { detail }| Failure::failed(detail))?;
    let Reply::PulledImages(pulled) = *reply else {
        return Err(Failure::failed("the host answered with something else"));
    };
    let known = known(&mut grip).await?;
    let view: Box<ViewModel> = view(grip.ask(ControlRequest::Status).await?)?;
    let object = json!({ "pulled": pulled, "pulls": view.pulls, "images": known });
    output.print(&object, &words(&pulled, &known, &view.pulls, &TimeZone::system()))
}

/// What each image is, in the host's language.
async fn known(grip: &mut Grip) -> Result<Vec<ImageLine>, Failure> {
    match grip.ask(ControlRequest::Ask(Question::Images)).await? {
        ControlAnswer::Reply(Ok(reply)) => match *reply {
            Reply::Images(lines) => Ok(lines),
            _ => Err(Failure::failed("the host answered with something else")),
        },
        ControlAnswer::Reply(Err(QuestionRefusal::Failed { detail })) => Err(Failure::failed(detail)),
        _ => Err(Failure::failed("the host answered with something else")),
    }
}

fn words(pulled: &PulledImages, known: &[ImageLine], pulls: &[PullLine], zone: &TimeZone) -> String {
    let mut table = Table::new(&["IMAGE", "WHAT IT IS", "SIZE", "LAST USED", "NOW"]);
    for image in &pulled.images {
        let never = if image.is_needed { "" } else { "never" };
        let used = image.last_used_at.map_or_else(|| never.to_owned(), |at| spelled(at, zone));
        let now = match (image.in_use, image.is_needed) {
            (true, _) => "in use",
            (false, true) => "needed for every job",
            (false, false) => "idle",
        };
        let title = known.iter().find(|line| line.name == image.name).map(|line| printable(&line.title));
        let size = spell_mib(image.size_bytes >> 20);
        table.row(vec![printable(&image.name), title.unwrap_or_default(), size, used, now.to_owned()]);
    }
    let mut text = if pulled.images.is_empty() {
        "nothing was fetched from a registry".to_owned()
    } else {
        table.to_string()
    };
    let (used, quota) = (pulled.used_bytes >> 20, pulled.quota_bytes >> 20);
    text += &format!("\n{} of {} used", spell_mib(used), spell_mib(quota));
    for pull in pulls {
        text += &format!("\n{}", printable(&pull.sentence));
    }
    text
}

async fn set_quota(quota: &Quota, output: Output) -> Result<(), Failure> {
    let (mut settings, keeper) = open(&quota.place).await?;
    if let Some(gib) = quota.gib {
        settings.images.quota_gib = gib;
        keep(&settings, keeper).await?;
    }
    let gib = settings.images.quota_gib;
    output.print(&json!({ "quota_gib": gib }), &format!("{gib} GiB for images from a registry"))
}

async fn set_kinds(kinds: &Kinds, output: Output) -> Result<(), Failure> {
    let (mut settings, keeper) = open(&kinds.place).await?;
    let before = settings.images.clone();
    settings.images = changed(&before, kinds);
    if settings.images != before {
        keep(&settings, keeper).await?;
    }
    let mut table = Table::new(&["KIND", "LENT TO", "WHAT IT IS"]);
    for kind in TaskKind::ALL {
        let is_allowed = settings.images.consents.contains(&kind);
        let (name, what) = named(kind);
        let row = [name, if is_allowed { "yes" } else { "no" }, what];
        table.row(row.map(str::to_owned).to_vec());
    }
    output.print(&json!({ "consents": settings.images.consents }), &table.to_string())
}

fn changed(before: &ImageSettings, kinds: &Kinds) -> ImageSettings {
    let mut images = before.clone();
    images.consents.extend(kinds.allow.iter().map(|kind| TaskKind::from(*kind)));
    for kind in &kinds.refuse {
        images.consents.remove(&TaskKind::from(*kind));
    }
    images
}

async fn set_lent(lend: &Lend, output: Output) -> Result<(), Failure> {
    // Which names there are is for the host to say: it may have a catalogue of its own.
    let mut grip = Grip::connect(&lend.place).await?;
    let known = known(&mut grip).await?;
    let lendable: Vec<&ImageLine> = known.iter().filter(|image| !image.is_needed).collect();
    for name in lend.allow.iter().chain(&lend.refuse) {
        if !lendable.iter().any(|image| image.name == *name) {
            let why = format!("the catalogue has no image {} that could be lent", printable(name));
            return Err(Failure::new(Exit::NothingMatched, why)
                .advise("`nightjar images lend` shows those that it has"));
        }
    }
    let (mut settings, keeper) = open(&lend.place).await?;
    let before = settings.images.refused.clone();
    settings.images.refused.extend(lend.refuse.iter().cloned());
    settings.images.refused.retain(|name| !lend.allow.contains(name));
    if settings.images.refused != before {
        keep(&settings, keeper).await?;
    }
    let view: Box<ViewModel> = view(grip.ask(ControlRequest::Status).await?)?;
    let refused = &settings.images.refused;
    let object = json!({ "refused": refused, "lent": view.lent_images, "images": lendable });
    output.print(&object, &lent_words(&lendable, &settings.images, &view.lent_images))
}

fn lent_words(known: &[&ImageLine], chosen: &ImageSettings, lent: &[String]) -> String {
    let mut table = Table::new(&["IMAGE", "LENT", "SIZE", "WHAT IT IS", "KINDS", "LICENCE"]);
    for image in known {
        let is_lent = match (chosen.refused.contains(&image.name), lent.contains(&image.name)) {
            (true, _) => "no: refused",
            (false, true) => "yes",
            (false, false) if !image.is_present => "no: not on this PC",
            (false, false) => "no: none of its kinds is lent to",
        };
        let kinds: Vec<&str> = image.task_kinds.iter().map(|kind| named(*kind).0).collect();
        table.row(vec![
            printable(&image.name),
            is_lent.to_owned(),
            spell_mib(image.size_mib),
            printable(&image.title),
            kinds.join(", "),
            printable(&image.licence),
        ]);
    }
    table.to_string()
}

fn named(kind: TaskKind) -> (&'static str, &'static str) {
    match kind {
        TaskKind::Interactive => ("interactive", "somebody works on the card by SSH or in JupyterLab"),
        TaskKind::Training => ("training", "a model is trained"),
        TaskKind::FineTuning => ("fine-tuning", "a model is adapted to other data"),
        TaskKind::Inference => ("inference", "a server answers with what a model says"),
        TaskKind::Preprocessing => ("preprocessing", "data is prepared"),
    }
}

#[cfg(test)]
mod tests {
    use nightjar_core::time::Timestamp;
    use nightjar_protocol::images::PulledImage;

    use super::super::images_arguments::Kind;
    use super::*;

    #[test]
    fn kinds_are_agreed_to_one_by_one() {
        let kinds = |allow: &[Kind], refuse: &[Kind]| Kinds {
            place: HostPlace::default(),
            allow: allow.to_vec(),
            refuse: refuse.to_vec(),
        };
        let images = changed(&ImageSettings::default(), &kinds(&[Kind::Inference], &[Kind::Interactive]));
        assert!(images.allows(&[TaskKind::Inference]));
        assert!(!images.allows(&[TaskKind::Interactive, TaskKind::Training]));
    }

    #[test]
    fn images_are_shown_with_their_room() {
        let image = PulledImage {
            name: "a:b".into(),
            reference: "r@sha256:1".into(),
            size_bytes: 3 << 30,
            last_used_at: Some(Timestamp(0)),
            in_use: true,
            is_needed: false,
        };
        let gateway = PulledImage {
            name: "gateway".into(),
            size_bytes: 180 << 20,
            last_used_at: None,
            in_use: false,
            is_needed: true,
            ..image.clone()
        };
        let pulled =
            PulledImages { images: vec![gateway, image], used_bytes: 3 << 30, quota_bytes: 60 << 30 };
        let line = ImageLine {
            name: "a:b".into(),
            title: "表格数据处理".into(),
            size_mib: 3_072,
            licence: String::new(),
            task_kinds: Vec::new(),
            is_present: true,
            can_be_pulled: true,
            is_needed: false,
        };
        insta::assert_snapshot!("images", words(&pulled, &[line], &[], &TimeZone::UTC));
    }

    #[test]
    fn why_an_image_is_not_lent_is_said() {
        let line = |name: &str, is_present: bool| ImageLine {
            name: name.into(),
            title: "PyTorch".into(),
            size_mib: 7_700,
            licence: "BSD-3-Clause".into(),
            task_kinds: vec![TaskKind::Training, TaskKind::FineTuning],
            is_present,
            can_be_pulled: true,
            is_needed: false,
        };
        let lines =
            [line("a:lent", true), line("b:refused", true), line("c:away", false), line("d:kinds", true)];
        let chosen = ImageSettings { refused: ["b:refused".to_owned()].into(), ..ImageSettings::default() };
        let lines: Vec<&ImageLine> = lines.iter().collect();
        insta::assert_snapshot!("lent", lent_words(&lines, &chosen, &["a:lent".to_owned()]));
    }
}
