//! Reads a row of a task's file as a question and builds its prompts, which [`super`] defines.

use serde_json::{Map, Value};

use super::{Choice, TaskKind};

/// The choices, and the index of the right one.
type Question = (Vec<Choice>, usize);

/// Reads one line of a file.
///
/// # Errors
///
/// A description of the error, to follow "line 3 of the task piqa".
pub fn read(kind: TaskKind, line: &str) -> Result<Question, String> {
    let Value::Object(row) = serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))? else {
        return Err("is not a JSON object".into());
    };
    let row = Row(row);
    let (choices, gold) = match kind {
        TaskKind::Lambada => row.last_word()?,
        TaskKind::WinoGrande | TaskKind::WinogradWsc => row.partial(kind)?,
        _ if row.has("query") => row.queried(kind)?,
        _ => row.own(kind)?,
    };
    if kind != TaskKind::Lambada && choices.len() < 2 {
        return Err("has fewer than two choices".into());
    }
    if gold >= choices.len() {
        return Err(format!("has the right choice {gold}, but its choices are 0 to {}", choices.len() - 1));
    }
    if choices.iter().any(|choice| choice.context.trim().is_empty()) {
        return Err("has nothing before its choices".into());
    }
    if choices.iter().any(|choice| choice.continuation.trim().is_empty()) {
        return Err("has an empty choice".into());
    }
    Ok((choices, gold))
}

/// Creates choices with one context and several answers.
fn after(context: &str, answers: Vec<String>) -> Vec<Choice> {
    let choice =
        |answer: String| Choice { context: context.into(), n_characters: answer.chars().count(), continuation: format!(" {answer}") };
    answers.into_iter().map(choice).collect()
}

/// Creates choices with several contexts and the same continuation.
fn before(contexts: Vec<String>, continuation: &str) -> Vec<Choice> {
    let choice = |context: String| Choice {
        // The harness divides by the length of the part that differs.
        n_characters: context.chars().count(),
        context,
        continuation: format!(" {continuation}"),
    };
    contexts.into_iter().map(choice).collect()
}

/// A row's fields by name.
struct Row(Map<String, Value>);

impl Row {
    fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    fn text(&self, key: &str) -> Result<&str, String> {
        self.0.get(key).and_then(Value::as_str).ok_or_else(|| format!("has no text {key:?}"))
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let texts =
            self.0.get(key).and_then(Value::as_array).and_then(|all| all.iter().map(|text| text.as_str().map(str::to_owned)).collect());
        texts.ok_or_else(|| format!("has no list of texts {key:?}"))
    }

    /// Reads a number from 0 on, which may be a text, false or true.
    fn index(&self, key: &str) -> Result<usize, String> {
        let index = match self.0.get(key) {
            Some(Value::Bool(is_second)) => Some(usize::from(*is_second)),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(value) => value.as_u64().and_then(|index| usize::try_from(index).ok()),
            None => None,
        };
        index.ok_or_else(|| format!("has no number {key:?}, from 0 on"))
    }

    /// Reads a lambada row: `context` and `continuation`, or a complete `text`.
    fn last_word(&self) -> Result<Question, String> {
        let (context, word) = match self.has("context") {
            true => (self.text("context")?, self.text("continuation")?),
            false => self.text("text")?.rsplit_once(' ').ok_or("has a single word")?,
        };
        Ok((after(context, vec![word.into()]), 0))
    }

    /// Reads a Winograd-like row: `context_options` and `continuation`, or `WinoGrande`'s `sentence` with a blank `_`.
    fn partial(&self, kind: TaskKind) -> Result<Question, String> {
        if self.has("context_options") || kind == TaskKind::WinogradWsc {
            return Ok((before(self.texts("context_options")?, self.text("continuation")?), self.index("gold")?));
        }
        let (head, tail) = self.text("sentence")?.split_once('_').ok_or("has no blank _")?;
        let contexts = ["option1", "option2"].map(|key| self.text(key).map(|option| format!("{head}{option}")));
        let contexts = contexts.into_iter().collect::<Result<Vec<_>, _>>()?;
        let gold = self.index("answer")?.checked_sub(1).ok_or("has no answer 1 or 2")?;
        Ok((before(contexts, tail.trim()), gold))
    }

    /// Reads llm-foundry's `query`, `choices`, `gold`.
    fn queried(&self, kind: TaskKind) -> Result<Question, String> {
        let (query, mut choices, gold) = (self.text("query")?, self.texts("choices")?, self.index("gold")?);
        let asked = |query: &str| match query.ends_with("\nAnswer:") {
            true => query.to_owned(),
            false => format!("{}\nAnswer:", query.strip_suffix('\n').unwrap_or(query)),
        };
        let context = match kind {
            TaskKind::ArcEasy | TaskKind::ArcChallenge | TaskKind::Piqa | TaskKind::SciQ => asked(query),
            TaskKind::BoolQ => asked(query.strip_prefix("Passage: ").unwrap_or(query)),
            TaskKind::Copa => {
                choices.iter_mut().for_each(|choice| *choice = format!(" {choice}"));
                match query.rsplit_once(", ") {
                    Some((premise, connector @ ("because" | "therefore"))) => format!("{premise} {connector}"),
                    _ => query.into(),
                }
            }
            _ => query.into(),
        };
        Ok((after(&context, choices), gold))
    }

    /// Reads the data set's own fields.
    fn own(&self, kind: TaskKind) -> Result<Question, String> {
        let all = |keys: &[&str]| keys.iter().map(|key| self.text(key).map(str::to_owned)).collect::<Result<Vec<_>, _>>();
        let asked = |question: &str| format!("Question: {question}\nAnswer:");
        Ok(match kind {
            TaskKind::ArcEasy | TaskKind::ArcChallenge => self.lettered(&asked(self.text("question")?))?,
            TaskKind::OpenBookQa => self.lettered(self.text("question_stem")?)?,
            TaskKind::HellaSwag => {
                let context = format!("{}: {} {}", self.text("activity_label")?, self.text("ctx_a")?, capitalised(self.text("ctx_b")?));
                let endings = self.texts("endings")?.iter().map(|ending| cleaned(ending)).collect();
                (after(&cleaned(&context), endings), self.index("label")?)
            }
            TaskKind::Piqa => (after(&asked(self.text("goal")?), all(&["sol1", "sol2"])?), self.index("label")?),
            TaskKind::BoolQ => {
                let context = format!("{}\nQuestion: {}?\nAnswer:", self.text("passage")?, self.text("question")?);
                let gold = self.index(if self.has("label") { "label" } else { "answer" })?;
                (after(&context, vec!["no".into(), "yes".into()]), gold)
            }
            TaskKind::SciQ => {
                let context = format!("{}\n{}", self.text("support")?.trim_start(), asked(self.text("question")?));
                (after(&context, all(&["distractor1", "distractor2", "distractor3", "correct_answer"])?), 3)
            }
            TaskKind::Copa => {
                let connector = match self.text("question")? {
                    "cause" => "because",
                    "effect" => "therefore",
                    other => return Err(format!("asks for the {other} instead of the cause or the effect")),
                };
                let mut premise = self.text("premise")?.trim().chars();
                premise.next_back();
                let choices = all(&["choice1", "choice2"])?.iter().map(|choice| format!(" {}", uncapitalised(choice))).collect();
                (after(&format!("{} {connector}", premise.as_str()), choices), self.index("label")?)
            }
            TaskKind::Siqa => {
                let context = format!("Q: {} {}\nA:", self.text("context")?, self.text("question")?);
                let gold = self.index("label")?.checked_sub(1).ok_or("has no label 1 to 3")?;
                (after(&context, all(&["answerA", "answerB", "answerC"])?), gold)
            }
            TaskKind::Lambada | TaskKind::WinoGrande | TaskKind::WinogradWsc => return Err("belongs to another task".into()),
        })
    }

    /// Reads answers with letters, as in ARC and `OpenBookQA`.
    fn lettered(&self, context: &str) -> Result<Question, String> {
        let Some(Value::Object(choices)) = self.0.get("choices") else { return Err("has no \"choices\" with letters".into()) };
        let choices = Self(choices.clone());
        let (answers, letters) = (choices.texts("text")?, choices.texts("label")?);
        let key = self.text("answerKey")?.trim_start();
        let gold = letters.iter().position(|letter| letter == key).ok_or_else(|| format!("has no choice {key:?}, which is right"))?;
        Ok((after(context, answers), gold))
    }
}

/// Removes WikiHow's markup from `HellaSwag`'s texts.
fn cleaned(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let (mut out, mut rest) = (String::new(), text.as_str());
    while let Some(open) = rest.find('[') {
        // A bracket that is not closed on its line is kept.
        let line = rest[open..].split('\n').next().unwrap_or_default();
        let Some(close) = line.find(']') else {
            out += &rest[..=open];
            rest = &rest[open + 1..];
            continue;
        };
        out += &rest[..open];
        rest = &rest[open + close + 1..];
    }
    (out + rest).replace("  ", " ")
}

/// Makes the first letter upper case and all others lower case.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters.as_str().to_lowercase().chars()).collect())
}

/// Makes the first letter lower case.
fn uncapitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(kind: TaskKind, line: &str) -> (Vec<(String, String)>, usize) {
        let (choices, gold) = read(kind, line).unwrap();
        (choices.into_iter().map(|choice| (choice.context, choice.continuation)).collect(), gold)
    }

    /// Reads a row whose choices share one context.
    fn asked(kind: TaskKind, line: &str) -> (String, Vec<String>, usize) {
        let (choices, gold) = prompts(kind, line);
        let context = choices[0].0.clone();
        assert!(choices.iter().all(|choice| choice.0 == context), "{choices:?}");
        (context, choices.into_iter().map(|choice| choice.1).collect(), gold)
    }

    #[test]
    fn both_forms_of_a_row_make_the_same_prompt() {
        let pairs = [
            (
                TaskKind::ArcEasy,
                r#"{"query":"Question: What melts?","choices":["ice","air"],"gold":0}"#,
                r#"{"question":"What melts?","choices":{"text":["ice","air"],"label":["A","B"]},"answerKey":"A"}"#,
                ("Question: What melts?\nAnswer:", [" ice", " air"], 0),
            ),
            (
                TaskKind::Piqa,
                r#"{"query":"Question: cut paper\n","choices":["with scissors","with a spoon"],"gold":0}"#,
                r#"{"goal":"cut paper","sol1":"with scissors","sol2":"with a spoon","label":0}"#,
                ("Question: cut paper\nAnswer:", [" with scissors", " with a spoon"], 0),
            ),
            (
                TaskKind::BoolQ,
                r#"{"query":"Passage: Ice is cold.\nQuestion: is ice cold?","choices":["no","yes"],"gold":1}"#,
                r#"{"passage":"Ice is cold.","question":"is ice cold","answer":true}"#,
                ("Ice is cold.\nQuestion: is ice cold?\nAnswer:", [" no", " yes"], 1),
            ),
            (
                TaskKind::OpenBookQa,
                r#"{"query":"Ice is","choices":["cold","hot"],"gold":0}"#,
                r#"{"question_stem":"Ice is","choices":{"text":["cold","hot"],"label":["A","B"]},"answerKey":" A"}"#,
                ("Ice is", [" cold", " hot"], 0),
            ),
            (
                TaskKind::Copa,
                r#"{"query":"The ice, all of it, melted, because","choices":["it was warm.","i ate it."],"gold":0}"#,
                r#"{"premise":"The ice, all of it, melted. ","choice1":"It was warm.","choice2":"I ate it.","question":"cause","label":0}"#,
                ("The ice, all of it, melted because", ["  it was warm.", "  i ate it."], 0),
            ),
        ];
        for (kind, foundry, own, (context, choices, gold)) in pairs {
            let expected = (context.to_owned(), choices.map(str::to_owned).to_vec(), gold);
            assert_eq!(asked(kind, foundry), expected, "{kind:?}");
            assert_eq!(asked(kind, own), expected, "{kind:?}");
        }
    }

    #[test]
    fn blank_is_filled_before_the_rest() {
        let expected =
            (vec![("Ann paid Bea so Ann".to_owned(), " was rich.".to_owned()), ("Ann paid Bea so Bea".into(), " was rich.".into())], 1);
        let foundry = r#"{"context_options":["Ann paid Bea so Ann","Ann paid Bea so Bea"],"continuation":"was rich.","gold":1}"#;
        let own = r#"{"sentence":"Ann paid Bea so _ was rich.","option1":"Ann","option2":"Bea","answer":"2"}"#;
        assert_eq!(prompts(TaskKind::WinoGrande, foundry), expected);
        assert_eq!(prompts(TaskKind::WinogradWsc, foundry), expected);
        assert_eq!(prompts(TaskKind::WinoGrande, own), expected);
        assert!(read(TaskKind::WinogradWsc, own).is_err());
    }

    #[test]
    fn last_word_is_the_answer() {
        let expected = ("It was a dark".to_owned(), vec![" evening".to_owned()], 0);
        assert_eq!(asked(TaskKind::Lambada, r#"{"context":"It was a dark","continuation":"evening"}"#), expected);
        assert_eq!(asked(TaskKind::Lambada, r#"{"text":"It was a dark evening"}"#), expected);
    }

    #[test]
    fn hellaswag_is_cleaned_and_capitalised() {
        let row = r#"{"activity_label":"Baking","ctx_a":"[header] How to bake [title] Mix. [step] Add  salt","ctx_b":"the Baker",
            "endings":["eats. [substeps] Now.","sleeps."," sings [x"],"label":"2"}"#;
        let (context, endings, gold) = asked(TaskKind::HellaSwag, &row.replace('\n', " "));
        assert_eq!(context, "Baking: How to bake. Mix. Add salt The baker");
        assert_eq!((endings, gold), (vec![" eats. Now.".to_owned(), " sleeps.".into(), " sings [x".into()], 2));
        assert_eq!((capitalised("éA ΣΑΣ"), cleaned("a[b]]c[d")), ("Éa σας".into(), "a]c[d".into()));
    }

    #[test]
    fn sciq_has_its_answer_last() {
        let row = r#"{"question":"What is cold?","support":" Ice.","distractor1":"a","distractor2":"b","distractor3":"c","correct_answer":"ice"}"#;
        let (context, choices, gold) = asked(TaskKind::SciQ, row);
        assert_eq!(context, "Ice.\nQuestion: What is cold?\nAnswer:");
        assert_eq!((choices.len(), choices[3].as_str(), gold), (4, " ice", 3));
        let row = r#"{"context":"Ann fell.","question":"How is she?","answerA":"hurt","answerB":"glad","answerC":"rich","label":"1"}"#;
        assert_eq!(asked(TaskKind::Siqa, row).0, "Q: Ann fell. How is she?\nA:");
    }

    #[test]
    fn choice_is_as_long_as_it_has_characters() {
        let (choices, _) = read(TaskKind::OpenBookQa, r#"{"query":"Café","choices":["é é","no"],"gold":0}"#).unwrap();
        assert_eq!(choices.iter().map(|choice| choice.n_characters).collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn faults_of_a_row_are_named() {
        for (kind, row, expected) in [
            (TaskKind::Piqa, "nothing", "is not JSON"),
            (TaskKind::Piqa, "[1]", "is not a JSON object"),
            (TaskKind::Piqa, r#"{"query":"a","choices":["b","c"]}"#, "has no number \"gold\""),
            (TaskKind::Piqa, r#"{"query":"a","choices":["b","c"],"gold":2}"#, "has the right choice 2, but its choices are 0 to 1"),
            (TaskKind::Piqa, r#"{"query":"a","choices":["b","c"],"gold":-1}"#, "has no number \"gold\""),
            (TaskKind::Piqa, r#"{"query":"a","choices":["b",1],"gold":0}"#, "has no list of texts \"choices\""),
            (TaskKind::Piqa, r#"{"goal":"a","sol1":"b","sol2":"c"}"#, "has no number \"label\""),
            (TaskKind::OpenBookQa, r#"{"query":"a","choices":["b"],"gold":0}"#, "has fewer than two choices"),
            (TaskKind::OpenBookQa, r#"{"query":" ","choices":["b","c"],"gold":0}"#, "has nothing before its choices"),
            (TaskKind::OpenBookQa, r#"{"query":"a","choices":["b"," "],"gold":0}"#, "has an empty choice"),
            (TaskKind::WinoGrande, r#"{"sentence":"a","option1":"b","option2":"c","answer":"1"}"#, "has no blank _"),
            (TaskKind::Lambada, r#"{"text":"word"}"#, "has a single word"),
            (TaskKind::Lambada, r#"{"query":"a","choices":["b","c"],"gold":0}"#, "has no text \"text\""),
        ] {
            let why = read(kind, row).unwrap_err();
            assert!(why.starts_with(expected), "{why}");
        }
    }
}
