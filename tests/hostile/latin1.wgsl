// 9 chars
fn main_météo() {}
