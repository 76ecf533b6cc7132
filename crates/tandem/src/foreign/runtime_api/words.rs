//! Lines of commands: `;` parts commands, blanks part words, a backslash takes the meaning from the next character.

/// The commands of a line, each as its words.
pub fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => {
                if let Some(c) = characters.next() {
                    word.get_or_insert_default().push(c);
                }
            }
            ';' => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    commands.push(words);
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_commands_and_these_have_words() {
        let words = |line| -> Vec<String> {
            let commands = commands(line).into_iter();
            commands.map(|words| words.join("|")).collect()
        };
        assert_eq!(words("  show   info \r"), ["show|info"]);
        assert_eq!(words("show stat;show\tinfo"), ["show|stat", "show|info"]);
        assert_eq!(words(r"set a\;b c\ d"), ["set|a;b|c d"]);
        assert_eq!(words("show info;"), ["show|info", ""]);
        assert_eq!(words("x\\"), ["x"]);
    }
}
