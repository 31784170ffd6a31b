declare function transpiled(file: string): string;
export = transpiled;
