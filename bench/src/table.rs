//! Tables in Markdown, a row as soon as it is known.

/// Prints a heading and the line below it.
pub fn head(columns: &[&str]) {
    println!("\n| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
}

/// Prints the heading of what the kernel does alone (`alone`, see [`crate::bare`]) beside nginx and Tandem.
pub fn kernel_head(alone: &str) {
    head(&[
        "1 KiB, the kernel's part",
        "nginx, us",
        "tandem, us",
        &format!("{alone} alone, us"),
        "alone / nginx",
        "tandem less alone, us",
    ]);
}

/// A row below it: nanoseconds of nginx, of Tandem, and of the kernel alone.
pub fn kernel_row(name: &str, [nginx, tandem, alone]: [f64; 3]) {
    let micros = |number: f64| format!("{:.1}", number / 1_000.0);
    row(&[
        name.to_owned(),
        micros(nginx),
        micros(tandem),
        micros(alone),
        format!("{:.2}", alone / nginx),
        micros(tandem - alone),
    ]);
}

/// Prints a row.
pub fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}
