//! Rule files: their text stays as it is. In: texts. Out: texts under distinct names. A file that Watchfire cannot read is an error.

use std::collections::BTreeSet;

use alerting::RuleSet;

use super::{Imported, Note};

/// The name of a file in the output: its last part, made distinct.
fn name(path: &str, taken: &BTreeSet<String>) -> String {
    let last = path.rsplit('/').next().unwrap_or(path);
    let stem = last.strip_suffix(".yaml").or_else(|| last.strip_suffix(".yml")).unwrap_or(last);
    let candidates = std::iter::once(format!("{stem}.yaml")).chain((2u32..).map(|number| format!("{stem}-{number}.yaml")));
    candidates.into_iter().find(|candidate| !taken.contains(candidate)).unwrap_or_else(|| format!("{stem}.yaml"))
}

/// Takes the rule files over; adds texts and errors.
pub(super) fn take(files: &[(&str, &str)], imported: &mut Imported) {
    let mut taken = BTreeSet::new();
    for (path, text) in files {
        let name = name(path, &taken);
        match RuleSet::load(vec![(name.clone(), (*text).to_owned())]) {
            Ok(_) => {
                taken.insert(name.clone());
                imported.rules.push((name, (*text).to_owned()));
            }
            Err(errors) => imported.errors.extend(
                errors
                    .into_iter()
                    .map(|error| Note { file: (*path).to_owned(), line: error.line.unwrap_or(0), text: error.message }.to_string()),
            ),
        }
    }
}
