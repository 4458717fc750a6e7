//! The parameters of a federation in a draft: what each is, and within which bounds.

use std::fmt::Write;

use anyhow::bail;
use lapwing_protocol::federation::Params;
use lapwing_protocol::time::Seconds;
use serde::Deserialize;

/// The parameters as they stand in a draft.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawParams {
    replicas: u8,
    epoch: u32,
    token_life: u32,
    token_work: u8,
    box_work: u8,
    open_offers: u8,
    reoffers: u8,
    ticket_life: u32,
    claim_size: u8,
    clock_skew: u32,
    openings_per_day: u32,
    mediator_signatures: u8,
    shards: u16,
    tokens_per_epoch: u32,
}

impl RawParams {
    fn params(&self) -> Params {
        Params {
            replicas: self.replicas,
            epoch: Seconds::new(self.epoch),
            token_life: Seconds::new(self.token_life),
            token_work: self.token_work,
            box_work: self.box_work,
            open_offers: self.open_offers,
            reoffers: self.reoffers,
            ticket_life: Seconds::new(self.ticket_life),
            claim_size: self.claim_size,
            clock_skew: Seconds::new(self.clock_skew),
            openings_per_day: self.openings_per_day,
            mediator_signatures: self.mediator_signatures,
            shards: self.shards,
            tokens_per_epoch: self.tokens_per_epoch,
        }
    }
}

/// One parameter: its name, value, bounds and what it is.
struct Row {
    name: &'static str,
    value: u32,
    least: u32,
    most: u32,
    about: &'static str,
}

const fn row(name: &'static str, value: u32, least: u32, most: u32, about: &'static str) -> Row {
    Row {
        name,
        value,
        least,
        most,
        about,
    }
}

/// Every parameter, in the order of the record. The bounds are those of [`Params::valid`].
fn rows(p: &Params) -> [Row; 14] {
    const SECONDS: u32 = u32::MAX;
    const COUNT: u32 = u8::MAX as u32;
    [
        row(
            "replicas",
            p.replicas.into(),
            1,
            7,
            "On how many nodes, of distinct operators, everything is kept.",
        ),
        row(
            "epoch",
            p.epoch.get(),
            60,
            SECONDS,
            "Length of a lottery epoch, in seconds.",
        ),
        row(
            "token_life",
            p.token_life.get(),
            60,
            SECONDS,
            "How long after its epoch a token may be admitted and its request is kept, in seconds.",
        ),
        row(
            "token_work",
            p.token_work.into(),
            0,
            40,
            "Work for a priority token, in leading zero bits: one more doubles it.",
        ),
        row(
            "box_work",
            p.box_work.into(),
            0,
            40,
            "Work for a write to a mediator's box, in leading zero bits.",
        ),
        row(
            "open_offers",
            p.open_offers.into(),
            1,
            COUNT,
            "How many open offers a token may have before it leaves the list for a while.",
        ),
        row(
            "reoffers",
            p.reoffers.into(),
            0,
            COUNT,
            "How often a token may be booked anew after its booking was released.",
        ),
        row(
            "ticket_life",
            p.ticket_life.get(),
            5,
            SECONDS,
            "How long an unspent ticket is good for, in seconds.",
        ),
        row(
            "claim_size",
            p.claim_size.into(),
            1,
            64,
            "How many requests one claim may ask for.",
        ),
        row(
            "clock_skew",
            p.clock_skew.get(),
            5,
            SECONDS,
            "How far a signed time may lie from the verifier's clock, in seconds.",
        ),
        row(
            "openings_per_day",
            p.openings_per_day,
            0,
            SECONDS,
            "How many mailboxes and marks one node may open a permit day.",
        ),
        row(
            "mediator_signatures",
            p.mediator_signatures.into(),
            1,
            COUNT,
            "How many operators must sign a mediator's registration.",
        ),
        row(
            "shards",
            p.shards.into(),
            1,
            256,
            "Into how many shards ids are cut for gossip and comparison: a power of two.",
        ),
        row(
            "tokens_per_epoch",
            p.tokens_per_epoch,
            1,
            SECONDS,
            "How many priority tokens one node may issue, and requests it may admit, a lottery epoch.",
        ),
    ]
}

/// The table `[params]` of a draft, with comments.
pub(super) fn render(p: &Params) -> String {
    let mut out = String::from("[params]\n");
    for Row {
        name,
        value,
        least,
        most,
        about,
    } in rows(p)
    {
        let bounds = match most {
            u32::MAX => format!("{least} or more"),
            most => format!("{least} to {most}"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "# {about} {bounds}.\n{name} = {value}");
    }
    out
}

/// Name and value of every parameter.
pub(super) fn list(p: &Params) -> impl Iterator<Item = (&'static str, u32)> {
    rows(p).into_iter().map(|r| (r.name, r.value))
}

/// The parameters of a draft, if they are within their bounds.
///
/// # Errors
/// One line that names the parameter and its bounds.
pub(super) fn check(raw: &RawParams) -> anyhow::Result<Params> {
    let params = raw.params();
    for r in rows(&params) {
        if !(r.least..=r.most).contains(&r.value) {
            bail!(
                "`params.{}` is {}: choose {} to {}",
                r.name,
                r.value,
                r.least,
                r.most
            );
        }
    }
    if !params.shards.is_power_of_two() {
        bail!(
            "`params.shards` is {}: choose a power of two, 1 to 256",
            params.shards
        );
    }
    if !params.valid() {
        bail!("`params` are not within the bounds that their comments name: correct them");
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: u32) -> Option<RawParams> {
        let text = render(&Params::standard())
            .lines()
            .filter(|l| *l != "[params]")
            .map(|l| match l.split_once(" = ") {
                Some((n, _)) if n == name => format!("{name} = {value}\n"),
                _ => format!("{l}\n"),
            })
            .collect::<String>();
        toml::from_str(&text).ok()
    }

    #[test]
    fn the_standard_reads_back() {
        let raw = with("", 0).unwrap();
        assert_eq!(check(&raw).unwrap(), Params::standard());
    }

    #[test]
    fn the_bounds_are_those_of_the_protocol() {
        for r in rows(&Params::standard()) {
            for good in [r.least, r.most] {
                let raw = with(r.name, good).unwrap();
                assert!(raw.params().valid(), "{} = {good}", r.name);
                check(&raw).unwrap();
            }
            let beyond = [r.least.checked_sub(1), r.most.checked_add(1)];
            for bad in beyond.into_iter().flatten() {
                // What does not fit the field is refused when it is parsed.
                let Some(raw) = with(r.name, bad) else {
                    continue;
                };
                assert!(!raw.params().valid(), "{} = {bad}", r.name);
                let said = check(&raw).unwrap_err().to_string();
                assert!(said.contains(r.name), "{said}");
            }
        }
        let said = check(&with("shards", 3).unwrap()).unwrap_err().to_string();
        assert!(said.contains("power of two"), "{said}");
    }
}
