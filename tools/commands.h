// The subcommands of `tally`, one file each. Every function adds its subcommand to `app`; when the command line names
// it, parsing sets *action to what it does.
#ifndef TALLY_TOOLS_COMMANDS_H_
#define TALLY_TOOLS_COMMANDS_H_

#include "tools/cli.h"

namespace tally::tools {

void AddConvert(CLI::App* app, Action* action);
void AddInspect(CLI::App* app, Action* action);
void AddRun(CLI::App* app, Action* action);
void AddEval(CLI::App* app, Action* action);
void AddBench(CLI::App* app, Action* action);
void AddCompare(CLI::App* app, Action* action);
void AddVerify(CLI::App* app, Action* action);
void AddStrip(CLI::App* app, Action* action);
void AddSimulate(CLI::App* app, Action* action);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_COMMANDS_H_
