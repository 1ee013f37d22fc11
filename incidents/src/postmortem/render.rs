//! Renders a draft through its Handlebars template: the built-in one, or `postmortem.md.hbs` in the configured folder. In: the draft.
//! Out: Markdown. A broken template of the user's never loses a postmortem: the built-in one is used and the document says so.

use std::path::{Path, PathBuf};

use handlebars::{Context, Handlebars, Helper, HelperResult, Output, RenderContext};

use super::draft::Draft;
use super::markdown;
use crate::deployments::is_link;

/// The built-in template.
pub const TEMPLATE: &str = include_str!("../../templates/postmortem.md.hbs");
/// The file's name in a templates folder.
pub const FILE: &str = "postmortem.md.hbs";

/// A template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no Handlebars.
    #[error("{path} is not a Handlebars template: {problem}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Line, column and fault.
        problem: String,
    },
}

/// The template's text: the folder's if one is named, else the built-in one. Checks that it parses.
pub fn template(folder: Option<&Path>) -> Result<String, TemplateError> {
    let Some(folder) = folder else { return Ok(TEMPLATE.to_owned()) };
    let path = folder.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|source| TemplateError::Read { path: path.clone(), source })?;
    match handlebars::Template::compile(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(TemplateError::Parse { path, problem: error.to_string() }),
    }
}

/// The document.
pub fn markdown(draft: &Draft, folder: Option<&Path>) -> String {
    let problem = match template(folder) {
        Ok(text) => match render(&text, draft) {
            Ok(document) => return document,
            Err(problem) => problem,
        },
        Err(error) => error.to_string(),
    };
    tracing::warn!(incident = draft.number, problem, "the postmortem template cannot be used; the built-in one is used");
    let built_in =
        render(TEMPLATE, draft).unwrap_or_else(|problem| format!("# Incident {}\n\n{}\n", draft.number, markdown::inline(&problem)));
    format!("> The configured template could not be used, so this is the built-in one: {}\n\n{built_in}", markdown::inline(&problem))
}

fn render(template: &str, draft: &Draft) -> Result<String, String> {
    let mut registry = Handlebars::new();
    registry.register_escape_fn(markdown::inline);
    registry.register_helper("code", Box::new(write_code));
    registry.register_helper("fenced", Box::new(write_fenced));
    registry.register_helper("link_to", Box::new(write_link));
    registry.render_template(template, draft).map_err(|error| error.to_string())
}

fn argument(helper: &Helper) -> String {
    match helper.param(0).map(|param| param.value()) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn write_code(helper: &Helper, _: &Handlebars, _: &Context, _: &mut RenderContext, out: &mut dyn Output) -> HelperResult {
    Ok(out.write(&markdown::code(&argument(helper)))?)
}

fn write_fenced(helper: &Helper, _: &Handlebars, _: &Context, _: &mut RenderContext, out: &mut dyn Output) -> HelperResult {
    Ok(out.write(&markdown::fenced(&argument(helper)))?)
}

/// A link where the text is an address that nothing misreads, else the text itself.
fn write_link(helper: &Helper, _: &Handlebars, _: &Context, _: &mut RenderContext, out: &mut dyn Output) -> HelperResult {
    let text = argument(helper);
    Ok(out.write(&if is_link(&text) { format!("[link](<{text}>)") } else { markdown::inline(&text) })?)
}
