//! The files beside the record: `<data_dir>/postmortems/<tenant>/incident-42.md` and `.ics`. In: a postmortem. Out: the path of the
//! Markdown. Each file is written whole or not at all (temporary file, fsync, rename); fails with the disk.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::Postmortem;

/// What could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path} could not be written")]
pub struct FileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Writes both files and returns where the Markdown lies.
pub async fn write(data_dir: &Path, postmortem: &Postmortem, calendar: &str) -> Result<PathBuf, FileError> {
    let folder = data_dir.join("postmortems").join(postmortem.tenant.as_str());
    let document = folder.join(format!("incident-{}.md", postmortem.number));
    let invitation = folder.join(format!("incident-{}.ics", postmortem.number));
    fs::create_dir_all(&folder).await.map_err(|source| FileError { path: folder.clone(), source })?;
    for (path, content) in [(&invitation, calendar), (&document, postmortem.markdown.as_str())] {
        whole(path, content).await.map_err(|source| FileError { path: path.clone(), source })?;
    }
    Ok(document)
}

/// Writes one file whole or not at all.
pub async fn whole(path: &Path, content: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = fs::File::create(&part).await?;
    file.write_all(content.as_bytes()).await?;
    file.sync_all().await?;
    drop(file);
    fs::rename(&part, path).await
}
