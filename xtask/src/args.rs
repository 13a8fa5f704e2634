//! The command line, read by hand: a handful of flags does not earn a dependency.

/// What follows the command's name; each option is taken out as it is read.
pub struct Args(Vec<String>);

impl Args {
    pub fn new(arguments: impl Iterator<Item = String>) -> Self {
        Self(arguments.collect())
    }

    /// Whether `name` was given.
    pub fn flag(&mut self, name: &str) -> bool {
        let found = self.0.iter().position(|argument| argument == name);
        found.map(|at| self.0.remove(at)).is_some()
    }

    /// What followed `name`, as `name value` or `name=value`.
    pub fn value(&mut self, name: &str) -> Result<Option<String>, String> {
        let prefix = format!("{name}=");
        if let Some(at) = self.0.iter().position(|a| a.starts_with(&prefix)) {
            return Ok(Some(self.0.remove(at).split_off(prefix.len())));
        }
        let Some(at) = self.0.iter().position(|a| a == name) else {
            return Ok(None);
        };
        self.0.remove(at);
        if at < self.0.len() && !self.0[at].starts_with("--") { Ok(Some(self.0.remove(at))) } else { Err(format!("{name} wants a value")) }
    }

    /// Takes what follows a bare `--`, which is meant for another program. To be asked for first.
    pub fn after_dashes(&mut self) -> Vec<String> {
        let Some(at) = self.0.iter().position(|argument| argument == "--") else { return Vec::new() };
        let rest = self.0.split_off(at + 1);
        self.0.pop();
        rest
    }

    /// Fails on whatever nobody asked for.
    pub fn finish(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some(extra) => Err(format!("`{extra}` means nothing here; see cargo xtask help")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_in_any_order_and_leftovers_are_refused() {
        let mut a = args("--dev --port 80 --base=/x/");
        assert_eq!(a.value("--base").unwrap().as_deref(), Some("/x/"));
        assert_eq!(a.value("--port").unwrap().as_deref(), Some("80"));
        assert!(a.flag("--dev") && !a.flag("--dev"));
        assert!(a.finish().is_ok());

        let mut a = args("--dev -- --port 80");
        assert_eq!(a.after_dashes(), ["--port", "80"]);
        assert!(a.flag("--dev") && a.after_dashes().is_empty() && a.finish().is_ok());

        assert!(args("--port").value("--port").is_err());
        assert!(args("--port --dev").value("--port").is_err());
        assert!(args("--what").finish().is_err());
    }
}
