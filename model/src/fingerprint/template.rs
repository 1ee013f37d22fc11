//! Texts with `{{ placeholders }}` for what an event says of itself. In: a text and an event. Out: the text, filled in. An unknown or
//! unclosed placeholder is refused when the text is parsed.

use super::ErrorFacts;

/// The longest filled text, in bytes.
const MAX_BYTES: usize = 1_024;

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Default,
    Type,
    Message,
    Service,
    Environment,
    Release,
    Function,
    File,
}

impl Field {
    const ALL: [(&'static str, Field); 8] = [
        ("default", Field::Default),
        ("type", Field::Type),
        ("message", Field::Message),
        ("service", Field::Service),
        ("environment", Field::Environment),
        ("release", Field::Release),
        ("function", Field::Function),
        ("file", Field::File),
    ];
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

/// A parsed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Parses a text; one sentence where it cannot be used.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, behind)) = after.split_once("}}") else {
                return Err(format!("`{{{{{after}` is not closed: write `{{{{ type }}}}`"));
            };
            let Some((_, field)) = Field::ALL.iter().find(|(known, _)| *known == name.trim()) else {
                let known = Field::ALL.map(|(known, _)| known).join(", ");
                return Err(format!("`{{{{{name}}}}}` is not known: use one of {known}"));
            };
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(Piece::Field(*field));
            rest = behind;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        Ok(Template(pieces))
    }

    /// Fills it in. The message is the normalised one; function and file are those of the innermost frame of the application.
    pub(super) fn fill(&self, event: &ErrorFacts<'_>) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(Field::Default) => out.push_str(&event.computed.to_string()),
                Piece::Field(Field::Type) => out.push_str(event.kind),
                Piece::Field(Field::Message) => out.push_str(event.normalized),
                Piece::Field(Field::Service) => out.push_str(event.service),
                Piece::Field(Field::Environment) => out.push_str(event.environment),
                Piece::Field(Field::Release) => out.push_str(event.release),
                Piece::Field(Field::Function) => out.push_str(event.top().map_or("", |frame| frame.function)),
                Piece::Field(Field::File) => out.push_str(event.top().map_or("", |frame| frame.file)),
            }
        }
        out.truncate(out.floor_char_boundary(MAX_BYTES));
        out
    }
}
