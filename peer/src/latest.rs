//! The newest metadata of a depot, as one answer: without it each file is a round trip, since each
//! names the version of the next.

use std::io;

use neap_depot::depot::Depot;
use neap_depot::limits::METADATA_LEN_MAX;
use neap_trust::carrier::Carrier;
use neap_trust::limits::TIMESTAMP_LEN_MAX;
use neap_trust::target::role_of;
use serde_json::Value;

use crate::limits::LATEST_LEN_MAX;

/// The timestamp, and of the snapshot, the targets and the roles of these groups, as it leads to
/// them, those that are not `kept`. Nothing is verified here. What would make the answer longer
/// than [`LATEST_LEN_MAX`] is left out: it is asked for by name.
///
/// # Errors
/// If the depot fails.
pub(crate) fn files(
    depot: &Depot,
    groups: &[String],
    kept: &[String],
) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Files { kept, len: 0, files: Vec::new() };
    let timestamp = "timestamp.json".to_owned();
    let Some(bytes) = depot.metadata(&timestamp, TIMESTAMP_LEN_MAX)? else {
        return Ok(Vec::new());
    };
    let snapshot = named(&bytes).and_then(|names| versioned(&names, "snapshot"));
    files.add(timestamp, bytes);
    let Some(snapshot) = snapshot else { return Ok(files.files) };
    let Some(bytes) = depot.metadata(&snapshot, METADATA_LEN_MAX)? else {
        return Ok(files.files);
    };
    let groups = groups.iter().map(|group| role_of(group));
    let roles = std::iter::once("targets".to_owned()).chain(groups);
    let names = named(&bytes).unwrap_or_default();
    let roles: Vec<_> = roles.filter_map(|role| versioned(&names, &role)).collect();
    files.add(snapshot, bytes);
    for role in roles.into_iter().filter(|role| !kept.contains(role)) {
        if let Some(bytes) = depot.metadata(&role, METADATA_LEN_MAX)? {
            files.add(role, bytes);
        }
    }
    Ok(files.files)
}

struct Files<'a> {
    kept: &'a [String],
    len: u64,
    files: Vec<(String, Vec<u8>)>,
}

impl Files<'_> {
    fn add(&mut self, name: String, bytes: Vec<u8>) {
        let len = crate::wire::file_len(&name, &bytes);
        if !self.kept.contains(&name) && self.len + len <= LATEST_LEN_MAX {
            self.len += len;
            self.files.push((name, bytes));
        }
    }
}

/// What metadata names, by file.
fn named(metadata: &[u8]) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(metadata).ok()?;
    Some(value.get_mut("signed")?.get_mut("meta")?.take())
}

/// The file of the version that is named of a role.
fn versioned(names: &Value, role: &str) -> Option<String> {
    let version = names.get(format!("{role}.json"))?.get("version")?;
    Some(format!("{}.{role}.json", version.as_u64()?))
}

#[cfg(test)]
mod tests {
    use neap_depot::directory::Directory;
    use neap_depot::memory::Memory;
    use neap_trust::fixture::Repository;
    use neap_trust::fixture::identity::at;

    use super::*;

    fn names(depot: &Depot, groups: &[&str], kept: &[&str]) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (groups, kept): (Vec<_>, Vec<_>) = (owned(groups), owned(kept));
        let files = files(depot, &groups, &kept).expect("memory reads");
        files.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn newest_metadata_is_what_the_timestamp_leads_to_without_what_is_kept() {
        let depot = Depot::new(Box::new(Directory::new(Memory::default())));
        assert!(names(&depot, &["crew"], &[]).is_empty(), "an empty depot");
        let mut repository = Repository::new(at(0));
        repository.group("crew");
        repository.group("deck");
        repository.publish(&["targets", "g.crew", "g.deck"]);
        repository.publish(&["g.crew"]);
        let files: Vec<_> = repository.files.metadata.clone().into_iter().collect();
        depot.writer("test").expect("alone").mirror(&files).expect("memory writes");
        let all = ["timestamp.json", "3.snapshot.json", "2.targets.json", "2.g.crew.json"];
        assert_eq!(names(&depot, &["crew", "unknown"], &[]), all);
        let kept = ["2.targets.json", "1.g.crew.json"];
        assert_eq!(
            names(&depot, &["crew", "deck"], &kept),
            ["timestamp.json", "3.snapshot.json", "2.g.crew.json", "1.g.deck.json"]
        );
    }

    #[test]
    fn an_answer_is_no_longer_than_allowed() {
        let mut files = Files { kept: &[], len: 0, files: Vec::new() };
        let most = usize::try_from(LATEST_LEN_MAX).expect("it is short");
        files.add("1.targets.json".into(), vec![0; most]);
        files.add("timestamp.json".into(), vec![0; 100]);
        let names: Vec<_> = files.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["timestamp.json"]);
        assert!(crate::wire::encode_files(&files.files).len() as u64 <= LATEST_LEN_MAX);
    }
}
