//! What a node has done, in the text format of Prometheus (version 0.0.4).
//!
//! The node counts into a [`Metrics`] and shows its [`text`](Metrics::text) on a port, or writes
//! it to a file for a collector that reads files. Counters begin at 0 when the node starts, as
//! Prometheus expects.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;

use crate::budget::Left;
use crate::link::Class;

/// Media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where bytes of a release came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// From outside the site.
    Wan,
    /// From the site's own network.
    Lan,
}

/// Why a peer or what it sent was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No certificate of the fleet, or one that has expired.
    Identity,
    /// A certificate that was revoked.
    Revoked,
    /// A message that is none, may not be sent, or came too slowly.
    Malformed,
    /// Bytes that are not what was asked for.
    WrongBytes,
    /// More connections than there may be.
    Limit,
    /// Metadata whose signatures or role do not hold.
    Signature,
    /// Metadata that is older than what is known.
    Rollback,
    /// Metadata that has expired.
    Expired,
    /// A budget that is used up.
    Budget,
}

/// What a node has done since it started, and how it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Version of the program.
    pub version: String,
    /// Name of the site.
    pub site: String,
    /// The verb that counts, a label of each line: two of a machine may be collected together.
    /// None if it is empty.
    pub verb: String,
    /// Bytes of releases received, by where they are from and the class of the link.
    pub received: BTreeMap<(Source, Class), u64>,
    /// Bytes sent, by the class of the link.
    pub sent: BTreeMap<Class, u64>,
    /// Bytes that whole images would have taken over links that cost, beyond what was received.
    pub saved: u64,
    /// Fetches that went on where they had stopped.
    pub resumes: u64,
    /// Peers and messages refused.
    pub rejected: BTreeMap<Reason, u64>,
    /// Groups whose digest was wrong.
    pub verify_failures: u64,
    /// What is left of the strictest limit of each link that has one.
    pub budget: BTreeMap<String, Left>,
    /// Peers connected, by the class of the link.
    pub peers: BTreeMap<Class, u64>,
    /// When metadata was last looked for.
    pub last_check: Option<Timestamp>,
    /// When a release was last fetched to its end.
    pub last_success: Option<Timestamp>,
}

impl Source {
    /// What it is called in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wan => "wan",
            Self::Lan => "lan",
        }
    }
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Identity,
        Self::Revoked,
        Self::Malformed,
        Self::WrongBytes,
        Self::Limit,
        Self::Signature,
        Self::Rollback,
        Self::Expired,
        Self::Budget,
    ];

    /// What it is called in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Revoked => "revoked",
            Self::Malformed => "malformed",
            Self::WrongBytes => "wrong_bytes",
            Self::Limit => "limit",
            Self::Signature => "signature",
            Self::Rollback => "rollback",
            Self::Expired => "expired",
            Self::Budget => "budget",
        }
    }
}

impl Metrics {
    /// Counts bytes that were received.
    pub fn receive(&mut self, source: Source, class: Class, bytes: u64) {
        count(self.received.entry((source, class)).or_default(), bytes);
    }

    /// Counts bytes that were sent.
    pub fn send(&mut self, class: Class, bytes: u64) {
        count(self.sent.entry(class).or_default(), bytes);
    }

    /// Counts a refusal.
    pub fn reject(&mut self, reason: Reason) {
        count(self.rejected.entry(reason).or_default(), 1);
    }

    /// The text, all names and helps included: what has not happened yet is 0 and not absent,
    /// so that an alarm can tell the two apart.
    #[must_use]
    pub fn text(&self) -> String {
        let mut page = Page { text: String::new(), verb: self.verb.clone() };
        page.head("neap_info", "gauge", "Version of neap and name of the site; always 1.");
        page.line("neap_info", &[("version", &self.version), ("site", &self.site)], 1);
        page.head("neap_bytes_total", "counter", "Bytes received, by source and class of link.");
        for ((source, class), bytes) in self.all_received() {
            let labels = [("source", source.name()), ("class", class.name())];
            page.line("neap_bytes_total", &labels, bytes);
        }
        page.head("neap_sent_bytes_total", "counter", "Bytes sent to peers, by class of link.");
        page.by_class("neap_sent_bytes_total", &self.sent);
        page.head("neap_bytes_saved_total", "counter", "Bytes that whole images would have cost.");
        page.line("neap_bytes_saved_total", &[], self.saved);
        page.head("neap_resume_total", "counter", "Fetches that went on where they had stopped.");
        page.line("neap_resume_total", &[], self.resumes);
        page.head("neap_rejected_total", "counter", "Peers and messages refused, by reason.");
        for reason in Reason::ALL {
            let times = self.rejected.get(&reason).copied().unwrap_or(0);
            page.line("neap_rejected_total", &[("reason", reason.name())], times);
        }
        page.head("neap_verify_failures_total", "counter", "Groups whose digest was wrong.");
        page.line("neap_verify_failures_total", &[], self.verify_failures);
        let help = "Bytes left of the strictest limit of a link; +Inf without a limit.";
        page.head("neap_budget_remaining_bytes", "gauge", help);
        for (link, left) in &self.budget {
            let name = "neap_budget_remaining_bytes";
            match left {
                Left::Bytes(left) => page.line(name, &[("link", link)], left),
                Left::Unlimited => page.line(name, &[("link", link)], "+Inf"),
            }
        }
        page.head("neap_peers", "gauge", "Peers connected, by class of link.");
        page.by_class("neap_peers", &self.peers);
        for (name, help, time) in [
            ("neap_last_check_timestamp_seconds", "When metadata was looked for.", self.last_check),
            ("neap_last_success_timestamp_seconds", "When a fetch ended.", self.last_success),
        ] {
            page.head(name, "gauge", help);
            page.line(name, &[], time.map_or(0, Timestamp::as_second));
        }
        page.text
    }

    /// What was received, and 0 from each class of link that nothing was received over.
    fn all_received(&self) -> BTreeMap<(Source, Class), u64> {
        let mut all = BTreeMap::from([
            ((Source::Lan, Class::Lan), 0),
            ((Source::Wan, Class::Port), 0),
            ((Source::Wan, Class::Sat), 0),
        ]);
        all.extend(&self.received);
        all
    }
}

/// A text that grows by whole lines.
struct Page {
    text: String,
    verb: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let verb = Some(("verb", self.verb.as_str())).filter(|(_, verb)| !verb.is_empty());
        let labels = verb.iter().chain(labels);
        let labels: Vec<_> =
            labels.map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
        match labels.is_empty() {
            true => self.push(format_args!("{name} {value}\n")),
            false => self.push(format_args!("{name}{{{}}} {value}\n", labels.join(","))),
        }
    }

    fn by_class(&mut self, name: &str, counts: &BTreeMap<Class, u64>) {
        for class in Class::ALL {
            let count = counts.get(&class).copied().unwrap_or(0);
            self.line(name, &[("class", class.name())], count);
        }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a text takes it");
    }
}

/// A label's value: backslash, quote and line feed are escaped, as the format says.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn count(counter: &mut u64, more: u64) {
    *counter = counter.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Checks a text as a collector would, and returns its samples: name with labels, and value.
    fn samples(text: &str) -> Result<Vec<(String, String)>, String> {
        let mut kinds = BTreeMap::new();
        let mut helped = Vec::new();
        let mut samples = Vec::new();
        let body = text.strip_suffix('\n').ok_or("no line feed at the end")?;
        for line in body.split('\n') {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or("HELP without a text")?;
                (!help.is_empty()).then_some(()).ok_or("an empty HELP")?;
                helped.push(name);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or("TYPE without a kind")?;
                let twice = kinds.insert(name, kind).is_some();
                (helped.last() == Some(&name) && !twice).then_some(()).ok_or(line)?;
                (name.ends_with("_total") == (kind == "counter")).then_some(()).ok_or(line)?;
            } else {
                let (name, labels, value) = sample(line).ok_or(line)?;
                kinds.get(name).ok_or(format!("{line}: no TYPE"))?;
                value.parse::<f64>().map_err(|_| format!("{line}: no number"))?;
                samples.push((format!("{name}{labels}"), value.to_owned()));
            }
        }
        (helped.len() == kinds.len()).then_some(()).ok_or("a HELP without a TYPE")?;
        let mut names: Vec<_> = samples.iter().map(|(name, _)| name).collect();
        names.sort();
        names.windows(2).all(|pair| pair[0] != pair[1]).then_some(()).ok_or("a sample twice")?;
        Ok(samples)
    }

    /// Name, labels in braces or nothing, value.
    fn sample(line: &str) -> Option<(&str, &str, &str)> {
        let name_len = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(name_len);
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let Some(mut inner) = rest.strip_prefix('{') else {
            return is_name.then_some((name, "", rest.strip_prefix(' ')?));
        };
        loop {
            let (key, value) = inner.split_once("=\"")?;
            key.chars().all(|c| c.is_ascii_lowercase()).then_some(())?;
            let mut escape = false;
            let end = value.find(|c| {
                let ends = c == '"' && !escape;
                escape = c == '\\' && !escape;
                ends
            })?;
            inner = &value[end + 1..];
            match inner.strip_prefix(',') {
                Some(more) => inner = more,
                None => break,
            }
        }
        let value = inner.strip_prefix("} ")?;
        let labels = &rest[..rest.len() - value.len() - 1];
        is_name.then_some((name, labels, value))
    }

    fn value(metrics: &Metrics, name: &str) -> Option<String> {
        let samples = samples(&metrics.text()).expect("well-formed");
        samples.into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    #[test]
    fn what_was_counted_is_shown() {
        let mut metrics =
            Metrics { version: "0.1.0".into(), site: "A".into(), ..Metrics::default() };
        metrics.receive(Source::Wan, Class::Sat, 7);
        metrics.receive(Source::Wan, Class::Sat, 5);
        metrics.send(Class::Lan, 9);
        metrics.reject(Reason::WrongBytes);
        metrics.budget.insert("vsat".into(), Left::Bytes(11));
        metrics.budget.insert("lan".into(), Left::Unlimited);
        metrics.peers.insert(Class::Lan, 2);
        metrics.last_check = Timestamp::from_second(1_800_000_000).ok();
        for (name, expected) in [
            ("neap_info{version=\"0.1.0\",site=\"A\"}", "1"),
            ("neap_bytes_total{source=\"wan\",class=\"sat\"}", "12"),
            ("neap_sent_bytes_total{class=\"lan\"}", "9"),
            ("neap_rejected_total{reason=\"wrong_bytes\"}", "1"),
            ("neap_budget_remaining_bytes{link=\"vsat\"}", "11"),
            ("neap_budget_remaining_bytes{link=\"lan\"}", "+Inf"),
            ("neap_peers{class=\"lan\"}", "2"),
            ("neap_last_check_timestamp_seconds", "1800000000"),
        ] {
            assert_eq!(value(&metrics, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn two_verbs_of_a_machine_share_no_sample() {
        let of = |verb: &str| Metrics { verb: verb.into(), ..Metrics::default() }.text();
        let [serve, fetch] = [of("serve"), of("fetch")].map(|text| samples(&text));
        let (serve, fetch) = (serve.expect("well-formed"), fetch.expect("well-formed"));
        assert_eq!(serve[1].0, "neap_bytes_total{verb=\"serve\",source=\"wan\",class=\"port\"}");
        assert!(serve.iter().all(|(name, _)| fetch.iter().all(|(other, _)| name != other)));
    }

    #[test]
    fn what_has_not_happened_is_zero_and_not_absent() {
        for name in [
            "neap_bytes_total{source=\"wan\",class=\"sat\"}",
            "neap_bytes_total{source=\"lan\",class=\"lan\"}",
            "neap_bytes_saved_total",
            "neap_resume_total",
            "neap_rejected_total{reason=\"revoked\"}",
            "neap_verify_failures_total",
            "neap_peers{class=\"port\"}",
            "neap_last_success_timestamp_seconds",
        ] {
            assert_eq!(value(&Metrics::default(), name).as_deref(), Some("0"), "{name}");
        }
    }

    #[test]
    fn checker_refuses_what_a_collector_would() {
        let good = Metrics { site: "A".into(), ..Metrics::default() }.text();
        for (from, to) in [
            ("# TYPE neap_peers gauge\n", ""),
            ("# HELP neap_peers", "# HELP neap_peer"),
            ("neap_resume_total counter", "neap_resume_total gauge"),
            ("site=\"A\"", "site=\"A\n\""),
            ("site=\"A\"", "site=\"A\"\""),
            ("site=\"A\"", "site=\"A\\\""),
            ("class=\"port\"", "class=\"sat\""),
            ("neap_resume_total 0", "neap_resume_total x"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good, "{from}");
            assert!(samples(&bad).is_err(), "{from} -> {to}");
        }
    }

    proptest! {
        #[test]
        fn text_is_well_formed_whatever_names_say(site: String, link: String, left: u64) {
            let mut metrics = Metrics { site, ..Metrics::default() };
            metrics.budget.insert(link, Left::Bytes(left));
            let checked = samples(&metrics.text());
            prop_assert!(checked.is_ok(), "{checked:?}");
        }
    }
}
